// The last minute of what was sent to the server, to cut the user's utterances out of.

const KEPT = 60_000; // ms

export class RecentAudio {
  constructor() {
    this.pieces = []; // {at, samples: Int16Array}; `at`: when it was spoken, ms
  }

  add(at, samples) {
    this.pieces.push({ at, samples });
    while (this.pieces[0].at < at - KEPT) this.pieces.shift();
  }

  /** What was spoken between two times: Int16Arrays. */
  between(begin, end) {
    return this.pieces.filter((piece) => piece.at >= begin && piece.at <= end).map((piece) => piece.samples);
  }
}
