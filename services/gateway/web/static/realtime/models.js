// Asks the gateway what it serves. Also the way to learn why a WebSocket was refused: a browser does not say.

export class Refused extends Error {
  /** `retryAfter`: seconds, or 0. */
  constructor(message, status, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  get needsKey() {
    return this.status === 401 || this.status === 403;
  }
}

/**
 * → the served model, an entry of /v1/models. A short-lived key opens sessions only: with one that is valid the model
 * has no name. Raises `Refused`, or `TypeError` where nothing answers.
 */
export async function servedModel(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch("/v1/models", { headers });
  if (answer.status === 403 && key.startsWith("ek_")) return { id: "" };
  if (!answer.ok) throw await refusal(answer);
  const { data } = await answer.json();
  return data[0];
}

async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  const message = body.error?.message ?? `the gateway answered ${answer.status}`;
  return new Refused(message, answer.status, Number(answer.headers.get("Retry-After")) || 0);
}
