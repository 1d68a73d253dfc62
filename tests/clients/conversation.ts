// A conversation with the service whose origin is the argument, through the generated types.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Task = components["schemas"]["TaskRead"];

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

async function create(title: string): Promise<Task> {
  const { data, response } = await client.POST("/tasks", {
    params: { header: { "Idempotency-Key": `typescript-${title}` } },
    body: { title, tags: ["typescript"], due_on: "2026-03-01" },
  });
  assert.ok(data);
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("Location"), `/tasks/${data.id}`);
  return data;
}

const created = [await create("first"), await create("second"), await create("third")];
assert.deepEqual(await create("first"), created[0]);

const listed: Task[] = [];
let cursor: string | null | undefined;
do {
  const query = { tag: ["typescript"], sort: "id", limit: 2, ...(cursor ? { cursor } : {}) };
  const { data } = await client.GET("/tasks", { params: { query } });
  assert.ok(data);
  listed.push(...data.items);
  cursor = data.next_cursor;
} while (cursor);
assert.deepEqual(listed, created);

const first = created[0];
assert.ok(first);
const path = { task_id: first.id };
const header = { "If-Match": `"${first.version}"` };
const changed = await client.PATCH("/tasks/{task_id}", {
  params: { path, header },
  body: { status: "done", due_on: null },
});
assert.equal(changed.data?.status, "done");
assert.equal(changed.data.due_on, null);
assert.equal(changed.response.headers.get("ETag"), '"2"');

const late = await client.PATCH("/tasks/{task_id}", {
  params: { path, header },
  body: { status: "cancelled" },
});
assert.equal(late.response.status, 412);
assert.equal(late.error?.type, "/problems/precondition-failed");
assert.equal(late.response.headers.get("ETag"), '"2"');

const refused = await client.POST("/tasks", { body: { title: "" } });
assert.equal(refused.error?.errors?.[0]?.pointer, "/title");

const gone = await client.DELETE("/tasks/{task_id}", { params: { path } });
assert.equal(gone.response.status, 204);
