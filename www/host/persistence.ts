// Finds out what this browser keeps for us, and asks it not to throw it away.
import type { MemoryReason, StorageChoice } from "../protocol/messages.ts";

const PROBE_DATABASE = "warren-probe";
/** A browser that has not opened an empty database by then will not open ours. */
const PROBE_WAIT_MS = 2_000;

/**
 * Called in the worker when the profile's database could not be opened. Memory, with the reason, when this browser
 * keeps no databases at all; undefined when it does, and the trouble lies in the profile: running in memory then would
 * show the user an empty house where theirs is merely locked.
 */
export async function chooseMemory(): Promise<StorageChoice | undefined> {
  const reason = await whyNotKept();
  return reason && { kind: "memory", reason };
}

async function whyNotKept(): Promise<MemoryReason | undefined> {
  try {
    await writeProbe();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** Exported for tests: which reason an error of IndexedDB stands for. */
export function reasonOf(error: unknown): MemoryReason {
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  if (name === "QuotaExceededError") return "full";
  // What Firefox says in private windows of versions that keep nothing in them.
  if (name === "InvalidStateError") return "private";
  return "blocked";
}

function writeProbe(): Promise<void> {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("timed out")), PROBE_WAIT_MS);
    const opening = indexedDB.open(PROBE_DATABASE);
    opening.onupgradeneeded = () => opening.result.createObjectStore("probe");
    opening.onerror = () => reject(opening.error ?? new Error("not opened"));
    opening.onsuccess = () => {
      const database = opening.result;
      const writing = database.transaction("probe", "readwrite");
      writing.objectStore("probe").put(1, 1);
      writing.onabort = () => reject(writing.error ?? new Error("not written"));
      writing.oncomplete = () => {
        database.close();
        indexedDB.deleteDatabase(PROBE_DATABASE);
        resolve();
      };
    };
  });
}

/**
 * Asks once, at the user's first touch (Firefox shows a prompt), that the browser keep our storage when space runs
 * short. Not awaited by anybody: Firefox leaves the promise pending for as long as its prompt is ignored.
 */
export function askToPersist(): void {
  if (!navigator.storage?.persist) return;
  const ask = () => {
    void navigator.storage
      .persisted()
      .then((persisted) => persisted || navigator.storage.persist())
      .catch(() => undefined);
  };
  addEventListener("pointerdown", ask, { once: true, passive: true });
}
