// The microphones and cameras that can be chosen.

/** → [{id, label}] of a kind: audioinput or videoinput. Names are known once one of the kind was allowed. */
export async function devices(kind) {
  const found = await navigator.mediaDevices.enumerateDevices();
  const ofKind = found.filter((device) => device.kind === kind && device.deviceId);
  const word = kind === "audioinput" ? "Microphone" : "Camera";
  return ofKind.map(({ deviceId, label }, i) => ({ id: deviceId, label: label || `${word} ${i + 1}` }));
}

/** What the user is told about an error of `getUserMedia`. `device`: microphone, camera, screen. */
export function deviceProblem(error, device) {
  const reasons = {
    NotAllowedError: `The browser does not allow the ${device}; allow it in the address bar`,
    NotFoundError: `No ${device} was found`,
    NotReadableError: `The ${device} is in use elsewhere`,
    OverconstrainedError: `The chosen ${device} is gone; choose another in the settings`,
  };
  return reasons[error.name] ?? `The ${device} cannot be opened: ${error.message}`;
}

/** Browsers give microphones and cameras to https and localhost only. */
export const CAN_RECORD = Boolean(globalThis.navigator?.mediaDevices?.getUserMedia);
