// The microphone: which one, whether it is muted, and what it hears as pieces of 30 ms at 24 kHz.

import { SAMPLE_RATE } from "./pcm.js";

/** Events: `piece` {samples: Float32Array, time} with `time` in seconds of the context; `ended`: the device is gone. */
export class Microphone extends EventTarget {
  constructor(sound) {
    super();
    this.sound = sound;
    this.stream = null;
    this.node = null;
    this.muted = false;
  }

  get open() {
    return this.stream !== null;
  }

  /** Opens the device, or changes to another one. Raises the browser's error where there is none or it is refused. */
  async start(deviceId = "") {
    this.stop();
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    if (deviceId) audio.deviceId = { exact: deviceId };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    const [track] = this.stream.getAudioTracks();
    track.onended = () => this.#lost();
    this.#connect();
    this.mute(this.muted);
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.source?.disconnect();
    this.node?.port.postMessage("end");
    this.stream = this.source = this.node = null;
  }

  /** A muted microphone gives silence: the server still hears where a question ended. */
  mute(muted) {
    this.muted = muted;
    this.stream?.getAudioTracks().forEach((track) => (track.enabled = !muted));
  }

  #connect() {
    const { context } = this.sound;
    const options = { numberOfOutputs: 0, processorOptions: { rate: SAMPLE_RATE } };
    this.source = context.createMediaStreamSource(this.stream);
    this.node = new AudioWorkletNode(context, "capture", options);
    this.node.port.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("piece", { detail: data }));
    this.source.connect(this.node);
  }

  #lost() {
    this.stop();
    this.dispatchEvent(new Event("ended"));
  }
}
