// The public API: requests, the problems it answers with, and pages of lists.

const ROOT = new URL('.', document.baseURI);
const PATIENCE = 20_000;

/** A request that was refused, in words that can be shown. Its status is 0 without an answer. */
export class Refused extends Error {
  constructor(message, status, etag = null) {
    super(message);
    this.status = status;
    this.etag = etag;
  }
}

export function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) {
      if (one !== '' && one !== null && one !== undefined) url.searchParams.append(name, one);
    }
  }
  return url;
}

/** Send a request; returns `{body, etag, requestId}` or throws `Refused`. */
export async function send(method, path, { query, body, etag, type } = {}) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = type ?? 'application/json';
  if (etag) headers['If-Match'] = etag;
  if (method === 'POST') headers['Idempotency-Key'] = randomKey();
  const request = {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: 'no-store',
  };
  const response = await answered(address(path, query), request);
  const text = response.status === 204 ? '' : await response.text();
  const content = text ? parsed(text) : null;
  if (!response.ok) {
    throw new Refused(inWords(response.status, content), response.status, response.headers.get('ETag'));
  }
  return {
    body: content,
    etag: response.headers.get('ETag'),
    requestId: response.headers.get('X-Request-ID'),
  };
}

// A write that got no answer may have been done: the same key makes sending it again safe.
async function answered(url, request) {
  const attempts = request.method === 'GET' || request.headers['Idempotency-Key'] ? 2 : 1;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fetch(url, { ...request, signal: AbortSignal.timeout(PATIENCE) });
    } catch {
      if (attempt === attempts) {
        throw new Refused('The service does not answer. Nothing of yours is lost: try again.', 0);
      }
    }
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function inWords(status, problem) {
  const errors = (problem?.errors ?? []).map(({ pointer, detail }) => {
    const field = pointer?.split('/').pop();
    return field && Number.isNaN(Number(field)) ? `${field}: ${detail}` : detail;
  });
  if (status === 412) return 'Somebody else has changed it meanwhile.';
  if (status === 503) return 'The service is busy or its database is away. Try again in a moment.';
  if (errors.length) return errors.join('; ');
  return problem?.detail ?? problem?.title ?? `The service answered with status ${status}.`;
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-');
}

/** Read every item of a list, page by page. */
export async function all(path, query = {}) {
  const items = [];
  let cursor = null;
  do {
    const { body } = await send('GET', path, { query: { limit: 200, ...query, cursor } });
    items.push(...body.items);
    cursor = body.next_cursor;
  } while (cursor);
  return items;
}

/** Whether the service has a feature: its folder may be gone, and the board goes on without. */
export async function has(path, query = { limit: 1 }) {
  try {
    await send('GET', path, { query });
    return true;
  } catch (error) {
    if (error.status === 404) return false;
    throw error;
  }
}
