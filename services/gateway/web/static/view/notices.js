// Short messages above the controls: a problem stays until it is closed, a note goes by itself.

const NOTE_SECONDS = 4;
const MOST = 3;

export class Notices {
  constructor(element) {
    this.element = element;
  }

  problem(message) {
    this.#show(message, "notice problem");
  }

  note(message) {
    const notice = this.#show(message, "notice");
    setTimeout(() => notice.remove(), NOTE_SECONDS * 1000);
  }

  clear() {
    this.element.replaceChildren();
  }

  #show(message, className) {
    for (const shown of this.element.children) if (shown.firstChild.textContent === message) shown.remove();
    const notice = document.createElement("p");
    const text = document.createElement("span");
    notice.className = className;
    text.textContent = message;
    notice.append(text, this.#closeButton(notice));
    this.element.append(notice);
    while (this.element.children.length > MOST) this.element.firstChild.remove();
    return notice;
  }

  #closeButton(notice) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "icon-button" });
    button.setAttribute("aria-label", "Close this message");
    const icon = document.querySelector("#download svg").cloneNode(true);
    icon.firstElementChild.setAttribute("href", "#icon-close");
    button.append(icon);
    button.addEventListener("click", () => notice.remove());
    return button;
  }
}
