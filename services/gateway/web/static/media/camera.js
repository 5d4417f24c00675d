// The camera or the screen: which one, its preview, and stills of it.

import { jpeg, lookOf } from "./picture.js";

const SIDE = 448; // pixels of the longer side of a still

/** Events: `changed`: it was turned on or off. `kind` is `camera`, `screen` or empty. */
export class Camera extends EventTarget {
  /** `video`: the element that shows the preview. */
  constructor(video) {
    super();
    this.video = video;
    this.stream = null;
    this.kind = "";
    this.facing = "user";
  }

  get on() {
    return this.stream !== null;
  }

  /** Raises the browser's error where there is none or it is refused. */
  async start(deviceId = "") {
    const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
    const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: this.facing };
    const stream = await navigator.mediaDevices.getUserMedia({ video: { ...which, ...size } });
    await this.#show(stream, "camera");
  }

  /** From the front camera to the back one, or back. */
  async flip() {
    this.facing = this.facing === "user" ? "environment" : "user";
    this.stop(); // some phones open one camera at a time
    await this.start();
  }

  async startScreen() {
    await this.#show(await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 5 } }), "screen");
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    this.kind = "";
    this.dispatchEvent(new Event("changed"));
  }

  /** The device that is used, as `enumerateDevices` names it. */
  get deviceId() {
    return this.stream?.getVideoTracks()[0].getSettings().deviceId ?? "";
  }

  /** Whether the preview is a mirror: only of a camera that looks at the user. */
  get mirrored() {
    const facing = this.stream?.getVideoTracks()[0].getSettings().facingMode;
    return this.kind === "camera" && (facing ?? this.facing) === "user";
  }

  /** What it sees now: {url, look}, see `Frames`; null before its first picture. */
  still() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) return null;
    return { url: jpeg(this.video, width, height, SIDE), look: lookOf(this.video) };
  }

  async #show(stream, kind) {
    if (this.on) this.stop();
    this.stream = stream;
    this.kind = kind;
    stream.getVideoTracks()[0].onended = () => this.stop();
    this.video.srcObject = stream;
    await this.video.play();
    this.dispatchEvent(new Event("changed"));
  }
}
