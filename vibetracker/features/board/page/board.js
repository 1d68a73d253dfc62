// The board: columns by status, what people do with cards, and what others do meanwhile.

import { all, has, send } from './api.js';
import { Shelf } from './cards.js';
import { Columns, STATUSES } from './columns.js';
import { Details, namesOf } from './details.js';
import { Live } from './live.js';

const SEARCH_PAUSE = 250;
const LIVE_PAUSE = 100;
const MESSAGES = 3;

const $ = (selector) => document.querySelector(selector);
const projects = { byId: new Map(), isOffered: false };
const shelves = new Map();
const undoable = [];
let columns;
let details;

// What is said, and what went wrong

function announce(words) {
  $('#announcer').textContent = words;
}

function complain(words, again) {
  const message = document.createElement('p');
  message.append(words);
  if (again) message.append(button('Try again', () => (message.remove(), again())));
  message.append(button('Dismiss', () => message.remove()));
  const list = $('#messages');
  list.append(message);
  while (list.children.length > MESSAGES) list.firstElementChild.remove();
}

function button(label, act) {
  const element = document.createElement('button');
  element.type = 'button';
  element.textContent = label;
  element.addEventListener('click', act);
  return element;
}

// Reading and showing

function show(changed = columns.columns.values()) {
  for (const column of changed) shelves.get(column.status).render(projects.byId);
}

async function load() {
  const main = $('#columns');
  main.setAttribute('aria-busy', 'true');
  try {
    await columns.load();
    show();
  } catch (error) {
    complain(error.message, load);
  } finally {
    main.setAttribute('aria-busy', 'false');
  }
  shelves.forEach(loadMore);
}

/** Load pages of a column for as long as its end is near what is seen. */
async function loadMore(shelf) {
  if (shelf.isLoading) return;
  shelf.isLoading = true;
  try {
    while (shelf.isNear && (await columns.more(shelf.column))) {
      show([shelf.column]);
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    complain(error.message, () => loadMore(shelf));
  } finally {
    shelf.isLoading = false;
  }
}

async function refresh(ids) {
  try {
    show(await columns.refresh(ids));
  } catch (error) {
    complain(error.message, () => refresh(ids));
  }
}

function fillChoices(select, choices) {
  const chosen = select.value;
  const [first] = select.options;
  select.replaceChildren(first, ...choices.map(([value, text]) => new Option(text, value)));
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

async function loadTags() {
  const names = (await all('tags')).map(({ name }) => name);
  fillChoices($('#filters').elements.tag, names.map((name) => [name, name]));
  $('#tag-names').replaceChildren(...names.map((name) => new Option(name, name)));
}

async function loadProjects() {
  const items = await all('projects');
  projects.byId = new Map(items.map((project) => [project.id, project]));
  const choices = (list) => list.map(({ id, name }) => [id, name]);
  fillChoices($('#filters').elements.project_id, choices(items));
  fillChoices($('#add').elements.project_id, choices(items.filter(({ archived }) => !archived)));
}

// Writing

function wrote(requestId, words, ids) {
  undoable.push({ requestId, words, ids });
  const undo = $('#undo');
  undo.disabled = false;
  undo.title = words;
  announce(words);
  refresh(ids);
}

async function undo() {
  const last = undoable.at(-1);
  if (!last) return;
  try {
    await send('POST', 'changes/revert', { body: { request_id: last.requestId } });
    announce(`Undone: ${last.words}`);
  } catch (error) {
    // What cannot be undone any more must not stand before what can.
    if (!error.status || error.status === 503) {
      complain(error.message, undo);
      return;
    }
    complain(`“${last.words}” cannot be undone. ${error.message}`);
  }
  undoable.splice(undoable.indexOf(last), 1);
  $('#undo').disabled = undoable.length === 0;
  $('#undo').title = undoable.at(-1)?.words ?? '';
  refresh(last.ids);
}

/** Move a card to another column, to a place among the cards there, or both at once. */
async function move(task, { status = task.status, place = null }, words) {
  const operations = [];
  if (status !== task.status) operations.push({ op: 'update', id: task.id, data: { status } });
  if (place) operations.push({ op: 'move', id: task.id, data: place });
  if (!operations.length) return;
  const etag = `"${task.version}"`;
  // The state that the card shows is the one that the person has decided on.
  operations[0].if_match = etag;
  try {
    const { requestId } = operations.length === 1
      ? await sendAlone(task.id, operations[0], etag)
      : await send('POST', 'tasks/batch', { body: { operations } });
    wrote(requestId, words, [task.id]);
  } catch (error) {
    if (error.status === 412) {
      complain(`“${task.title}” was not moved. ${error.message} The card shows it now as it is.`);
    } else {
      complain(`“${task.title}” was not moved. ${error.message}`, () => {
        move(columns.byId.get(task.id) ?? task, { status, place }, words);
      });
    }
    await refresh([task.id]);
  }
}

function sendAlone(id, { op, data }, etag) {
  if (op === 'move') return send('POST', `tasks/${id}/move`, { body: data, etag });
  const type = 'application/merge-patch+json';
  return send('PATCH', `tasks/${id}`, { body: data, etag, type });
}

async function trash(task, etag) {
  const { requestId } = await send('DELETE', `tasks/${task.id}`, { etag });
  wrote(requestId, `Moved “${task.title}” to the trash`, [task.id]);
}

async function add(event) {
  event.preventDefault();
  const form = event.target;
  const { title, tags, project_id: project, due_on: due } = Object.fromEntries(new FormData(form));
  const body = { title, tags: namesOf(tags) };
  if (project) body.project_id = Number(project);
  if (due) body.due_on = due;
  form.querySelector('[type=submit]').disabled = true;
  try {
    const { body: task, requestId } = await send('POST', 'tasks', { body });
    form.elements.title.value = '';
    form.elements.tags.value = '';
    form.elements.due_on.value = '';
    wrote(requestId, `Added “${task.title}”`, [task.id]);
    if (!columns.columns.get(task.status).isComplete) announce(`Added “${task.title}”, at the end`);
  } catch (error) {
    complain(`The task was not added. ${error.message}`);
  } finally {
    form.querySelector('[type=submit]').disabled = false;
    form.elements.title.focus();
  }
}

// Places of cards

function taskOf(element) {
  const card = element?.closest?.('.card');
  return card ? columns.byId.get(Number(card.dataset.id)) : undefined;
}

/** The place before or after a card, as the operation `move` names it; siblings only. */
function beside(task, other, side) {
  if (!other || other.id === task.id || other.parent_id !== task.parent_id) return null;
  return side === 'before' ? { before_id: other.id } : { after_id: other.id };
}

function step(task, by) {
  const { tasks } = columns.columns.get(task.status);
  const other = tasks[tasks.indexOf(task) + by];
  if (!other) return;
  const place = beside(task, other, by < 0 ? 'before' : 'after');
  if (!place) {
    complain('Subtasks keep to the others of their parent.');
    return;
  }
  move(task, { place }, `Moved “${task.title}” ${by < 0 ? 'up' : 'down'}`);
}

function toColumn(task, by) {
  const names = Object.keys(STATUSES);
  const status = names[names.indexOf(task.status) + by];
  if (status) enter(task, status);
}

function enter(task, status) {
  move(task, { status }, `Moved “${task.title}” to ${STATUSES[status]}`);
}

function toEnd(task, to) {
  const words = `Moved “${task.title}” to the ${to === 'first' ? 'top' : 'bottom'}`;
  move(task, { place: { to } }, words);
}

// Drag and drop

let dragged = null;

function startDrag(event) {
  dragged = taskOf(event.target);
  if (!dragged) return;
  event.dataTransfer.effectAllowed = 'move';
  event.dataTransfer.setData('text/plain', dragged.title);
  event.target.classList.add('dragged');
}

function dropTarget(event) {
  const section = event.target.closest?.('#columns section');
  if (!section || !dragged) return null;
  const card = event.target.closest('.card');
  if (!card) return { section };
  const { top, height } = card.getBoundingClientRect();
  return { section, card, side: event.clientY < top + height / 2 ? 'before' : 'after' };
}

function overDrag(event) {
  const target = dropTarget(event);
  if (!target) return;
  event.preventDefault();
  clearMarks();
  (target.card ?? target.section).dataset.drop = target.side ?? 'inside';
}

function clearMarks() {
  for (const marked of document.querySelectorAll('[data-drop]')) delete marked.dataset.drop;
}

function drop(event) {
  const target = dropTarget(event);
  if (!target) return;
  event.preventDefault();
  const task = dragged;
  const { status } = target.section.dataset;
  const place = target.card ? beside(task, taskOf(target.card), target.side) : null;
  endDrag();
  move(task, { status, place }, `Moved “${task.title}” in ${STATUSES[status]}`);
}

function endDrag() {
  dragged = null;
  clearMarks();
  document.querySelector('.dragged')?.classList.remove('dragged');
}

// The keyboard, and the menu of a card

function focusCard(id) {
  const element = document.querySelector(`.card[data-id="${id}"]`);
  if (!element) {
    $('#columns').focus();
    return;
  }
  shelves.get(element.closest('section').dataset.status).stopAt(element);
  element.querySelector('.title').focus();
}

const KEYS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

function pressed(event) {
  const task = taskOf(event.target);
  const way = KEYS[event.key];
  if (!task || !way || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const [rows, sideways] = way;
  if (event.altKey) {
    focusAfter = task.id;
    if (rows) step(task, rows);
    else toColumn(task, sideways);
    return;
  }
  const card = event.target.closest('.card');
  if (rows) {
    const next = rows > 0 ? card.nextElementSibling : card.previousElementSibling;
    if (next) focusCard(next.dataset.id);
    return;
  }
  let section = card.closest('section');
  do {
    section = sideways > 0 ? section.nextElementSibling : section.previousElementSibling;
  } while (section && !section.querySelector('.card'));
  if (section) focusCard(section.querySelector('[tabindex="0"]').closest('.card').dataset.id);
}

// A card that goes to another column is another place in the page: the focus follows it.
let focusAfter = null;

function followFocus() {
  if (focusAfter === null || !document.querySelector(`.card[data-id="${focusAfter}"]`)) return;
  const isLost = document.activeElement === document.body
    || taskOf(document.activeElement)?.id === focusAfter;
  if (isLost) focusCard(focusAfter);
}

function openMenu(opener) {
  const task = taskOf(opener);
  const menu = $('#menu');
  const items = Object.entries(STATUSES)
    .filter(([status]) => status !== task.status)
    .map(([status, name]) => [`To ${name}`, () => enter(task, status)]);
  items.push(
    ['Up', () => step(task, -1)],
    ['Down', () => step(task, 1)],
    ['To the top', () => toEnd(task, 'first')],
    ['To the bottom', () => toEnd(task, 'last')],
  );
  menu.replaceChildren(...items.map(([label, act]) => {
    const item = button(label, () => {
      menu.hidePopover();
      focusAfter = task.id;
      act();
    });
    item.setAttribute('role', 'menuitem');
    return item;
  }));
  menu.setAttribute('aria-label', `Move “${task.title}”`);
  menu.showPopover();
  const { right, bottom, top } = opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(4, right - width)}px`;
  menu.style.top = `${bottom + height > innerHeight ? Math.max(4, top - height) : bottom}px`;
  menu.firstElementChild.focus();
  menu.onkeydown = (event) => {
    const list = [...menu.children];
    const at = list.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: list.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    list.at(next % list.length).focus();
  };
}

function clicked(event) {
  const task = taskOf(event.target);
  if (!task) return;
  if (event.target.closest('.more')) openMenu(event.target.closest('.more'));
  else openDetails(task.id);
}

async function openDetails(id) {
  try {
    await details.open(id, () => focusCard(id));
  } catch (error) {
    complain(error.message);
    await refresh([id]);
  }
}

// What others do

const dirty = new Set();
let timer = null;

function changed({ resource, resource_id: id, changes }) {
  if (resource === 'tasks') {
    dirty.add(id);
    // The card of a parent counts its subtasks.
    for (const parent of changes?.parent_id ?? []) if (parent) dirty.add(parent);
    const known = columns.byId.get(id);
    if (known?.parent_id) dirty.add(known.parent_id);
  } else if (resource === 'comments') {
    for (const task of changes?.task_id ?? []) if (task) dirty.add(task);
    details.showComments();
  } else {
    dirty.add(resource);
  }
  timer ??= setTimeout(readDirty, LIVE_PAUSE);
}

async function readDirty() {
  timer = null;
  const ids = [...dirty].filter(Number.isInteger);
  const lists = { tags: loadTags, projects: loadProjects };
  const others = [...dirty].filter((name) => name in lists);
  dirty.clear();
  try {
    for (const name of others) await lists[name]();
    if (others.length) show();
  } catch (error) {
    complain(error.message);
  }
  if (ids.length) await refresh(ids);
}

function connected(isConnected) {
  $('#live').textContent = isConnected
    ? 'Live'
    : 'The service does not answer; trying again. What you see may be old.';
  $('#live').classList.toggle('lost', !isConnected);
}

async function startLive() {
  const live = new Live({ changed, expired: load, connected });
  await live.begin();
  return live;
}

// The beginning

function listen() {
  const main = $('#columns');
  main.addEventListener('click', clicked);
  main.addEventListener('keydown', pressed);
  main.addEventListener('dragstart', startDrag);
  main.addEventListener('dragover', overDrag);
  main.addEventListener('dragend', endDrag);
  main.addEventListener('drop', drop);
  main.addEventListener('focusin', (event) => {
    const card = event.target.closest('.card');
    if (card) shelves.get(card.closest('section').dataset.status).stopAt(card);
  });
  new MutationObserver(followFocus).observe(main, { childList: true, subtree: true });
  $('#add').addEventListener('submit', add);
  $('#undo').addEventListener('click', undo);
  addEventListener('keydown', (event) => {
    const isTyping = event.target.closest?.('input, textarea, select, dialog');
    if (event.key === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey && !isTyping) {
      event.preventDefault();
      if (!$('#undo').hidden) undo();
    }
  });
  let pause = null;
  $('#filters').addEventListener('input', () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      const { q, ...others } = Object.fromEntries(new FormData($('#filters')));
      columns.filters = { ...others, q: q.trim() };
      load();
    }, SEARCH_PAUSE);
  });
  $('#filters').addEventListener('submit', (event) => event.preventDefault());
}

async function start() {
  const [hasProjects, hasComments, hasChanges] = await Promise.all([
    has('projects'),
    has('comments'),
    has('changes', { after: 'now' }),
  ]);
  const include = hasComments ? ['subtask_counts', 'comment_count'] : ['subtask_counts'];
  columns = new Columns(include);
  projects.isOffered = hasProjects;
  details = new Details({ projects, hasComments, wrote, trash });
  for (const column of columns.columns.values()) {
    const shelf = new Shelf(column);
    shelves.set(column.status, shelf);
    $('#columns').append(shelf.element);
    const observed = (entries) => {
      shelf.isNear = entries.at(-1).isIntersecting;
      loadMore(shelf);
    };
    new IntersectionObserver(observed, { rootMargin: '800px' }).observe(shelf.end);
  }
  $('#project-filter').hidden = !hasProjects;
  $('#project-field').hidden = !hasProjects;
  $('#undo').hidden = !hasChanges;
  const live = hasChanges ? await startLive() : null;
  await Promise.all([load(), loadTags(), hasProjects ? loadProjects() : null]);
  if (hasProjects) show();
  listen();
  if (live) live.follow();
  else $('#live').textContent = 'Without live updates: reload to see what others do.';
}

async function startOrWait() {
  try {
    await start();
  } catch (error) {
    complain(error.message, () => {
      $('#columns').replaceChildren();
      shelves.clear();
      startOrWait();
    });
  }
}

startOrWait();
