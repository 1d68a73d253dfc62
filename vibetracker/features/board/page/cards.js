// Cards and columns as elements; a column shows what is loaded, and changes only what differs.

import { STATUSES } from './columns.js';

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** When a task is due, in words. */
export function due(task) {
  if (task.due_on) {
    const [year, month, day] = task.due_on.split('-').map(Number);
    return dates.format(new Date(year, month - 1, day));
  }
  return task.due_at ? moments.format(new Date(task.due_at)) : '';
}

/** Whether an open task is past its due; a day is over when the next one begins here. */
export function isOverdue(task, now = new Date()) {
  if (task.status !== 'todo' && task.status !== 'in_progress') return false;
  if (task.due_at) return new Date(task.due_at) < now;
  if (!task.due_on) return false;
  const [year, month, day] = task.due_on.split('-').map(Number);
  return new Date(year, month - 1, day + 1) <= now;
}

function facts(task, projects) {
  const parts = [];
  const project = projects.get(task.project_id);
  if (project) parts.push(['project', project.name]);
  if (task.priority !== 'none') parts.push([`priority ${task.priority}`, `${task.priority} priority`]);
  const when = due(task);
  if (when) parts.push(isOverdue(task) ? ['overdue', `Overdue: ${when}`] : ['due', `Due ${when}`]);
  for (const name of task.tags) parts.push(['tag', `#${name}`]);
  const { subtasks } = task;
  if (subtasks?.total) {
    parts.push(['count', `${subtasks.done + subtasks.cancelled} of ${subtasks.total} subtasks closed`]);
  }
  if (task.comment_count) {
    parts.push(['count', `${task.comment_count} comment${task.comment_count === 1 ? '' : 's'}`]);
  }
  return parts;
}

function card(task) {
  const element = document.querySelector('#card').content.firstElementChild.cloneNode(true);
  element.dataset.id = task.id;
  return element;
}

function fill(element, task, projects) {
  // What is read anew is another object.
  if (element.task === task && element.projects === projects) return;
  Object.assign(element, { task, projects });
  element.querySelector('.title').textContent = task.title;
  element.querySelector('.more').setAttribute('aria-label', `Move “${task.title}”`);
  element.querySelector('.facts').replaceChildren(
    ...facts(task, projects).map(([kind, text]) => {
      const fact = document.createElement('span');
      fact.className = kind;
      fact.textContent = text;
      return fact;
    }),
  );
}

export class Shelf {
  constructor(column) {
    this.column = column;
    this.element = document.querySelector('#column').content.firstElementChild.cloneNode(true);
    this.element.dataset.status = column.status;
    this.heading = this.element.querySelector('h2');
    this.heading.id = `column-${column.status}`;
    this.element.setAttribute('aria-labelledby', this.heading.id);
    this.list = this.element.querySelector('ol');
    this.end = this.element.querySelector('.end');
    this.cards = new Map();
  }

  render(projects) {
    const { column } = this;
    this.heading.textContent = `${STATUSES[column.status]} (${column.total})`;
    const wanted = new Set(column.tasks.map(({ id }) => id));
    for (const [id, element] of this.cards) {
      if (!wanted.has(id)) {
        element.remove();
        this.cards.delete(id);
      }
    }
    let previous = null;
    for (const task of column.tasks) {
      let element = this.cards.get(task.id);
      if (!element) {
        element = card(task);
        this.cards.set(task.id, element);
      }
      fill(element, task, projects);
      const next = previous ? previous.nextElementSibling : this.list.firstElementChild;
      if (next !== element) this.list.insertBefore(element, next);
      previous = element;
    }
    this.end.textContent = column.tasks.length ? '' : 'Nothing here';
    this.end.hidden = column.isComplete && column.tasks.length > 0;
    this.#tabStop();
  }

  // One card of a column is reached with the Tab key, the others from there with the arrows.
  #tabStop() {
    const stops = this.list.querySelectorAll('[tabindex="0"]');
    const chosen = stops[0]?.closest('.card') ?? this.list.firstElementChild;
    if (chosen) this.stopAt(chosen);
  }

  stopAt(chosen) {
    for (const button of this.list.querySelectorAll('[tabindex="0"]')) {
      if (button.closest('.card') !== chosen) button.removeAttribute('tabindex');
    }
    for (const button of chosen.querySelectorAll('button')) button.tabIndex = 0;
  }
}
