// The key of the gateway, where it asks for one: from the link, or pasted; kept for this tab only.

const NAME = "parley.key";

/** The key that this tab has, or "". A key in the link (`#key=…`) is taken out of the address bar. */
export function storedKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem(NAME, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(NAME) ?? "";
}

/** What was pasted, checked. Raises `Error` with a message for the user. */
export function keepKey(text) {
  const key = text.trim();
  if (!/^[\w.~-]+$/.test(key)) throw new Error("A key has letters, digits, dots, hyphens and underscores only");
  sessionStorage.setItem(NAME, key);
  return key;
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}
