// The stream of changes: what others do shows here, and nothing is missed while it was away.

import { address, send } from './api.js';

const RESOURCES = ['tasks', 'tags', 'projects', 'comments'];
const ACTIONS = ['created', 'updated', 'trashed', 'restored', 'deleted'];
const SHORTEST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

export class Live {
  /**
   * `changed(change)` is called for each, `expired()` where some are lost and everything has to be
   * read again, and `connected(isConnected)` as the stream comes and goes.
   */
  constructor({ changed, expired, connected }) {
    Object.assign(this, { changed, expired, connected });
    this.pause = SHORTEST_PAUSE;
  }

  /** Remember where the journal ends now; what is read afterwards has all that is before. */
  async begin() {
    const { body } = await send('GET', 'changes', { query: { after: 'now' } });
    this.cursor = body.next_cursor;
  }

  follow() {
    const source = new EventSource(address('changes/stream', { after: this.cursor }));
    source.addEventListener('open', () => {
      this.pause = SHORTEST_PAUSE;
      this.connected(true);
    });
    for (const resource of RESOURCES) {
      for (const action of ACTIONS) {
        source.addEventListener(`${resource}.${action}`, (event) => {
          this.cursor = event.lastEventId;
          this.changed(JSON.parse(event.data));
        });
      }
    }
    // A browser gives up after some errors, and cannot say which; so does this, and begins anew.
    source.addEventListener('error', () => {
      source.close();
      this.connected(false);
      setTimeout(() => this.#again(), this.pause);
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    });
  }

  async #again() {
    try {
      await send('GET', 'changes', { query: { after: this.cursor, limit: 1 } });
    } catch (error) {
      if (error.status === 410 || error.status === 422) {
        await this.#anew();
        return;
      }
    }
    this.follow();
  }

  async #anew() {
    try {
      await this.begin();
      await this.expired();
    } catch {
      setTimeout(() => this.#anew(), LONGEST_PAUSE);
      return;
    }
    this.follow();
  }
}
