// What the model is shown: pictures that the user gives, and frames of the camera while a question is asked.

import { createMessage, deleteItem, newItemId, picturePart } from "../realtime/events.js";
import { Frames } from "./frames.js";

export class Sight {
  constructor({ connection, camera, talk }) {
    Object.assign(this, { connection, camera, talk });
    this.frames = new Frames();
    this.newFrame = ""; // the last one that was sent, until it is shown with its question
  }

  /** Sends a frame of the camera, where it is on, a frame is due and shows something new. */
  look(at = performance.now()) {
    if (!this.camera.on || !this.frames.isDue(at)) return;
    const still = this.camera.still();
    if (!still || !this.frames.isNew(still.look)) return;
    const id = newItemId();
    if (!this.#send(id, still.url)) return;
    for (const old of this.frames.sent(id, still.look, at)) this.connection.send(deleteItem(old));
    this.newFrame = still.url;
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

  /** The frame that was sent since it was last asked for, or "". */
  takeFrame() {
    const url = this.newFrame;
    this.newFrame = "";
    return url;
  }

  reset() {
    this.frames.reset();
  }

  #send(id, url) {
    return this.connection.send(createMessage(id, [picturePart(url)]));
  }
}
