// The round button: hold it in push to talk, press it to start, to mute, or to stop the answer.

/** `isHeld`: whether it is to be held now. `onPress`: a tap, or a click without a pointer. */
export function bindTalkButton(button, { isHeld, onDown, onUp, onPress }) {
  let holding = false;
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !isHeld()) return;
    holding = true;
    button.setPointerCapture(event.pointerId); // a finger that slides off still ends the question
    onDown();
  });
  for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
    button.addEventListener(type, () => {
      if (holding) onUp();
    });
  }
  button.addEventListener("click", () => {
    const wasHeld = holding;
    holding = false;
    if (!wasHeld) onPress();
  });
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // of a long touch
}
