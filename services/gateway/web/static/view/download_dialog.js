// Gives the talk as files.

import { captionFile, soundFile } from "../talk/download.js";

export class DownloadDialog {
  constructor({ dialog, opener, sound, captions, talk }) {
    Object.assign(this, { dialog, sound, captions, talk });
    opener.addEventListener("click", () => this.open());
    talk.addEventListener("changed", () => (opener.disabled = false));
    dialog.addEventListener("close", () => this.#release());
  }

  open() {
    this.sound.href = URL.createObjectURL(soundFile(this.talk.utterances));
    this.captions.href = URL.createObjectURL(captionFile(this.talk.utterances));
    this.dialog.showModal();
  }

  #release() {
    for (const link of [this.sound, this.captions]) URL.revokeObjectURL(link.href);
  }
}
