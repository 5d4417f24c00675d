// Reads captions to screen readers: each question once it is understood, each answer sentence by sentence.

const SENTENCE = /^[\s\S]*?[.!?…](?=\s|$)/;

export class Announcer {
  /** `region`: an element with aria-live. */
  constructor({ region, talk }) {
    this.region = region;
    this.said = new WeakMap(); // utterance → characters that were announced
    talk.addEventListener("changed", ({ detail }) => this.#follow(detail.utterance));
  }

  #follow(utterance) {
    const { status, role, text } = utterance;
    const said = this.said.get(utterance) ?? 0;
    const rest = text.slice(said);
    const ready = status !== "growing" ? rest : role === "assistant" ? (rest.match(SENTENCE)?.[0] ?? "") : "";
    if (!ready.trim()) return;
    this.said.set(utterance, said + ready.length);
    this.#announce(said ? ready : `${role === "user" ? "You" : "Parley"}: ${ready}`);
  }

  #announce(text) {
    const line = document.createElement("p");
    line.textContent = text.trim();
    this.region.append(line);
    while (this.region.children.length > 20) this.region.firstChild.remove();
  }
}
