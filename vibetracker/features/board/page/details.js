// One task as a form, with its comments; only the members that were changed are sent.

import { Refused, all, send } from './api.js';
import { STATUSES } from './columns.js';

const PRIORITIES = ['none', 'low', 'medium', 'high', 'urgent'];
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

export function namesOf(text) {
  return text.split(',').map((name) => name.trim()).filter(Boolean);
}

export class Details {
  /** `wrote(requestId, words)` is called after each write that can be undone. */
  constructor({ projects, hasComments, wrote, trash, refused }) {
    Object.assign(this, { projects, hasComments, wrote, trash, refused });
    this.dialog = document.querySelector('#details');
    this.dialog.addEventListener('close', () => {
      this.task = null;
      this.returnTo?.();
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  async open(id, returnTo) {
    const { body, etag } = await send('GET', `tasks/${id}`);
    this.task = body;
    this.etag = etag;
    this.returnTo = returnTo;
    this.dialog.replaceChildren(document.querySelector('#details-form').content.cloneNode(true));
    this.form = this.dialog.querySelector('form');
    this.conflict = this.dialog.querySelector('#conflict');
    this.#options('status', Object.entries(STATUSES));
    this.#options('priority', PRIORITIES.map((name) => [name, name]));
    if (this.projects.isOffered) {
      this.form.querySelector('.project').hidden = false;
      const names = [...this.projects.byId.values()].map(({ id: key, name }) => [key, name]);
      this.#options('project_id', [['', 'None'], ...names]);
    }
    this.#fill(this.task);
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#save();
    });
    this.dialog.querySelector('.close').addEventListener('click', () => this.dialog.close());
    this.dialog.querySelector('.trash').addEventListener('click', () => this.#trash());
    if (this.hasComments) this.#startComments();
    this.dialog.showModal();
  }

  #options(name, choices) {
    this.form.elements[name].replaceChildren(
      ...choices.map(([value, text]) => new Option(text, value)),
    );
  }

  #fill(task) {
    this.dialog.querySelector('#details-heading').textContent = `Task ${task.id}`;
    const values = this.#values(task);
    for (const [name, value] of Object.entries(values)) this.form.elements[name].value = value;
    const dates = [`Created ${moments.format(new Date(task.created_at))}`];
    if (task.due_at) dates.push(`due ${moments.format(new Date(task.due_at))}`);
    if (task.completed_at) dates.push(`done ${moments.format(new Date(task.completed_at))}`);
    this.form.querySelector('.facts').textContent = dates.join(' · ');
  }

  #values(task) {
    return {
      title: task.title,
      description: task.description,
      status: task.status,
      priority: task.priority,
      due_on: task.due_on ?? '',
      project_id: task.project_id ?? '',
      tags: task.tags.join(', '),
    };
  }

  // What is in the form and differs from the task that it was filled with.
  #changes() {
    const before = this.#values(this.task);
    const changes = {};
    for (const [name, value] of Object.entries(before)) {
      const now = this.form.elements[name].value;
      if (name === 'project_id' && !this.projects.isOffered) continue;
      if (now === String(value)) continue;
      if (name === 'tags') changes.tags = namesOf(now);
      else if (name === 'project_id') changes.project_id = now ? Number(now) : null;
      else if (name === 'due_on') Object.assign(changes, { due_on: now || null, due_at: null });
      else changes[name] = now;
    }
    return changes;
  }

  async #save() {
    const body = this.#changes();
    if (!Object.keys(body).length) {
      this.dialog.close();
      return;
    }
    const type = 'application/merge-patch+json';
    try {
      const path = `tasks/${this.task.id}`;
      const { requestId } = await send('PATCH', path, { body, etag: this.etag, type });
      this.wrote(requestId, `Saved “${this.form.elements.title.value}”`, [this.task.id]);
      this.dialog.close();
    } catch (error) {
      if (error.status === 412) await this.#conflict();
      else this.#say(error.message);
    }
  }

  async #conflict() {
    let theirs;
    try {
      theirs = await send('GET', `tasks/${this.task.id}`);
    } catch (error) {
      this.#say(error.message);
      return;
    }
    const before = this.#values(this.task);
    const now = this.#values(theirs.body);
    const changed = Object.keys(before).filter((name) => String(before[name]) !== String(now[name]));
    const list = changed.map((name) => `${name} is now “${now[name]}”`).join('; ');
    this.#say(
      `Somebody else has changed this task meanwhile${list ? `: ${list}` : ''}. What you wrote is still here.`,
      ['Save mine over it', () => {
        // Only what was typed here goes over it; the rest stays as the other has made it.
        this.etag = theirs.etag;
        this.#save();
      }],
      ['Take theirs', () => {
        this.task = theirs.body;
        this.etag = theirs.etag;
        this.#fill(theirs.body);
        this.conflict.replaceChildren();
      }],
    );
  }

  #say(words, ...choices) {
    const text = document.createElement('p');
    text.textContent = words;
    const buttons = choices.map(([label, act]) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = label;
      button.addEventListener('click', act);
      return button;
    });
    this.conflict.replaceChildren(text, ...buttons);
    buttons[0]?.focus();
  }

  async #trash() {
    try {
      await this.trash(this.task, this.etag);
      this.dialog.close();
    } catch (error) {
      if (error.status === 412) await this.#conflict();
      else this.#say(error.message);
    }
  }

  #startComments() {
    const section = this.dialog.querySelector('.comments');
    section.hidden = false;
    const form = section.querySelector('form');
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const { body, author } = Object.fromEntries(new FormData(form));
      try {
        const { requestId } = await send('POST', 'comments', {
          body: { task_id: this.task.id, body, author },
        });
        form.elements.body.value = '';
        this.wrote(requestId, 'Commented', [this.task.id]);
        await this.showComments();
      } catch (error) {
        this.#say(error.message);
      }
    });
    this.showComments();
  }

  async showComments() {
    const { task } = this;
    if (!task || !this.hasComments) return;
    try {
      const comments = await all('comments', { task_id: task.id });
      if (this.task !== task) return;
      this.dialog.querySelector('.comments ol').replaceChildren(...comments.map(asItem));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#say(error.message);
    }
  }
}

function asItem(comment) {
  const item = document.createElement('li');
  const head = document.createElement('p');
  head.className = 'facts';
  const when = moments.format(new Date(comment.created_at));
  head.textContent = comment.author ? `${comment.author}, ${when}` : when;
  const body = document.createElement('p');
  body.className = 'body';
  body.textContent = comment.body;
  item.append(head, body);
  return item;
}
