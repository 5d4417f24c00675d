// Keys: space to talk, Escape to stop, letters for the rest. None of them while something is typed.

export function bindKeyboard({ onSpaceDown, onSpaceUp, onEscape, letters }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return onEscape();
    if (takesKeys(event.target, event.key)) return;
    const action = event.key === " " ? onSpaceDown : letters[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault(); // the page does not scroll
    if (!event.repeat) action();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " " || takesKeys(event.target, " ")) return;
    event.preventDefault(); // a focused talk button is not clicked too
    onSpaceUp();
  });
}

/** A button that was clicked with a pointer gives the keys back: space is for talking. */
export function releaseFocusAfterClicks() {
  document.addEventListener("click", ({ detail, target }) => {
    if (detail && !target.closest("dialog")) target.closest("button, summary")?.blur();
  });
}

/** Whether an element needs this key for itself. The talk button does with space what the page does. */
function takesKeys(element, key) {
  if (element.matches("input, select, textarea")) return true;
  return key === " " && element.matches("button:not(#talk), summary, a");
}
