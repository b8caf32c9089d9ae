// Random names for things. Not crypto.randomUUID, which browsers keep from pages on plain http.

/** `bytes` random bytes in hexadecimal. */
export function randomHex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
