// Where the Realtime API is, and what a connection says in its URL and its subprotocols.

/**
 * `page`: the URL of the page. `model` empty: the one that is served. `resume`: {sessionId, lastEventId} of a session to go on with, or null.
 * → the URL of the WebSocket.
 */
export function socketAddress(page, model, resume = null) {
  const address = new URL("/v1/realtime", page);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (model) address.searchParams.set("model", model);
  address.searchParams.set("parley_events", "true");
  address.searchParams.set("parley_session_id", resume?.sessionId ?? "");
  if (resume) address.searchParams.set("parley_last_event_id", resume.lastEventId);
  return address.href;
}

/** A browser cannot send headers with a WebSocket: the key is a subprotocol. */
export function subprotocols(key) {
  return key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"];
}
