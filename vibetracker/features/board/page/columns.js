// What the board knows: the cards of each column, in the order by hand, as far as they are loaded.

import { all, send } from './api.js';

export const STATUSES = {
  todo: 'To do',
  in_progress: 'In progress',
  done: 'Done',
  cancelled: 'Cancelled',
};
const PAGE = 100;
const IDS_PER_REQUEST = 100;

/** Compare by position, and by id where positions are the same, as the service sorts. */
export function inOrder(a, b) {
  if (a.position !== b.position) return a.position < b.position ? -1 : 1;
  return a.id - b.id;
}

class Column {
  constructor(status) {
    this.status = status;
    this.clear();
  }

  clear() {
    this.tasks = [];
    this.cursor = null;
    this.total = 0;
    this.isComplete = false;
  }

  /** Whether a task lies in the part that is loaded. */
  reaches(task) {
    return this.isComplete || (this.tasks.length > 0 && inOrder(task, this.tasks.at(-1)) < 0);
  }

  insert(task) {
    let low = 0;
    let high = this.tasks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (inOrder(this.tasks[middle], task) < 0) low = middle + 1;
      else high = middle;
    }
    this.tasks.splice(low, 0, task);
  }
}

export class Columns {
  constructor(include) {
    this.include = include;
    this.filters = {};
    this.columns = new Map(Object.keys(STATUSES).map((status) => [status, new Column(status)]));
    this.byId = new Map();
    this.generation = 0;
  }

  get query() {
    // A search finds subtasks too; otherwise they are counted on the card of their parent.
    const scope = this.filters.q ? {} : { is_subtask: false };
    return { ...this.filters, ...scope, include: this.include };
  }

  /** Load the first page of every column anew. */
  async load() {
    this.generation += 1;
    const pages = await Promise.all(
      [...this.columns.values()].map((column) => this.#page(column.status, null)),
    );
    this.byId.clear();
    for (const column of this.columns.values()) column.clear();
    pages.forEach((page, index) => this.#append([...this.columns.values()][index], page));
  }

  /** Load the next page of a column; returns whether there was one. */
  async more(column) {
    if (column.cursor === null) return false;
    const { generation } = this;
    const page = await this.#page(column.status, column.cursor);
    if (generation !== this.generation) return false;
    this.#append(column, page);
    return true;
  }

  async #page(status, cursor) {
    const query = { ...this.query, status, sort: 'position', limit: PAGE, cursor };
    if (!cursor) query.include_total = true;
    return (await send('GET', 'tasks', { query })).body;
  }

  #append(column, page) {
    for (const task of page.items) {
      if (this.byId.has(task.id)) continue;
      column.tasks.push(task);
      this.byId.set(task.id, task);
    }
    column.cursor = page.next_cursor;
    column.isComplete = page.next_cursor === null;
    if (page.total !== undefined) column.total = page.total;
  }

  /** Read tasks again, and place each where it belongs now; returns the columns that changed. */
  async refresh(ids) {
    const { generation } = this;
    const wanted = [...ids];
    const found = new Map();
    for (let start = 0; start < wanted.length; start += IDS_PER_REQUEST) {
      const id = wanted.slice(start, start + IDS_PER_REQUEST);
      for (const task of await all('tasks', { ...this.query, id })) found.set(task.id, task);
    }
    if (generation !== this.generation) return new Set();
    const changed = new Set();
    for (const id of wanted) {
      for (const column of this.place(id, found.get(id))) changed.add(column);
    }
    return changed;
  }

  /** Put a task into its column, or take it off the board where there is none of this id. */
  place(id, task) {
    const changed = new Set();
    const old = this.byId.get(id);
    if (old && task && old.version > task.version) return changed;
    if (old) {
      const column = this.columns.get(old.status);
      column.tasks.splice(column.tasks.indexOf(old), 1);
      column.total -= 1;
      this.byId.delete(id);
      changed.add(column);
    }
    if (task) {
      const column = this.columns.get(task.status);
      column.total += 1;
      changed.add(column);
      if (column.reaches(task)) {
        column.insert(task);
        this.byId.set(id, task);
      }
    }
    return changed;
  }
}
