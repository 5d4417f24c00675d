// Pictures as they are sent: small JPEGs in data URLs.

const SIDE = 1024; // pixels of the longer side of a picture that the user gives
const QUALITY = 0.85;
const LOOK = [16, 12]; // columns and rows of the grey values by which two frames are compared
const LARGEST_BYTES = 40 << 20;

/** A file that the user gave → a data URL. Raises `Error` with a message for the user. */
export async function readPicture(file) {
  if (file.size > LARGEST_BYTES) throw new Error("The picture is larger than 40 MB");
  try {
    const bitmap = await createImageBitmap(file);
    const url = jpeg(bitmap, bitmap.width, bitmap.height, SIDE);
    bitmap.close();
    return url;
  } catch {
    throw new Error(`${file.name || "This"} is not a picture that the browser can read`);
  }
}

/** `source`: anything that a canvas can draw. → a data URL, its longer side at most `side` pixels. */
export function jpeg(source, width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = draw(source, Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  return canvas.toDataURL("image/jpeg", QUALITY);
}

/** A few grey values of what `source` shows. */
export function lookOf(source) {
  const context = draw(source, ...LOOK).getContext("2d");
  const { data } = context.getImageData(0, 0, ...LOOK);
  return Array.from({ length: LOOK[0] * LOOK[1] }, (_, i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3);
}

function draw(source, width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}
