// What the model is shown: pictures that the user gives, and frames of the camera while a question is asked.

import { createMessage, deleteItem, newItemId, picturePart } from "../realtime/events.js";
import { Frames } from "./frames.js";

/** Events: `frame` {url}: a frame of the camera was sent. */
export class Sight extends EventTarget {
  constructor({ connection, camera, talk }) {
    super();
    Object.assign(this, { connection, camera, talk });
    this.frames = new Frames();
    this.lastFrame = null; // {id, url}
  }

  /** Sends a frame of the camera, where it is on, a frame is due and shows something new. */
  look(at = performance.now()) {
    if (!this.camera.on || !this.frames.isDue(at)) return;
    const still = this.camera.still();
    if (!still || !this.frames.isNew(still.look)) return;
    const id = newItemId();
    if (!this.#send(id, still.url)) return;
    for (const old of this.frames.sent(id, still.look, at)) this.connection.send(deleteItem(old));
    this.lastFrame = { id, url: still.url };
    this.dispatchEvent(new CustomEvent("frame", { detail: this.lastFrame }));
  }

  /** Adds a picture (a data URL) to the talk. */
  show(url, at = performance.now()) {
    const id = newItemId();
    const utterance = this.talk.user(id, at);
    utterance.picture = url;
    utterance.status = "done";
    this.talk.changed(utterance);
    this.#send(id, url);
  }

  /** Takes a picture back. */
  remove(id) {
    this.connection.send(deleteItem(id));
  }

  reset() {
    this.frames.reset();
    this.lastFrame = null;
  }

  #send(id, url) {
    return this.connection.send(createMessage(id, [picturePart(url)]));
  }
}
