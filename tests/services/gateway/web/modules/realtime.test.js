import assert from "node:assert/strict";
import test from "node:test";

import { socketAddress, subprotocols } from "../static/realtime/address.js";
import * as events from "../static/realtime/events.js";

test("the socket is where the page is, and encrypted where the page is", () => {
  const plain = new URL(socketAddress("http://127.0.0.1:8080/#x", "parley"));
  assert.equal(plain.protocol + plain.host + plain.pathname, "ws:127.0.0.1:8080/v1/realtime");
  assert.equal(plain.searchParams.get("model"), "parley");
  assert.equal(plain.hash, "");
  assert.equal(new URL(socketAddress("https://host/", "a b")).href.slice(0, 33), "wss://host/v1/realtime?model=a+b&");
});

test("a lost session is asked for, with the last event that came", () => {
  const { searchParams } = new URL(socketAddress("http://h/", "m", { sessionId: "sess_1", lastEventId: "event_9" }));
  assert.equal(searchParams.get("parley_session_id"), "sess_1");
  assert.equal(searchParams.get("parley_last_event_id"), "event_9");
});

test("a key is a subprotocol", () => {
  assert.deepEqual(subprotocols(""), ["realtime"]);
  assert.deepEqual(subprotocols("ek_1"), ["realtime", "openai-insecure-api-key.ek_1"]);
});

test("ids are short and new", () => {
  const ids = new Set(Array.from({ length: 100 }, events.newItemId));
  assert.equal(ids.size, 100);
  for (const id of ids) assert.match(id, /^item_[0-9a-f]{24}$/);
});
