// Repeats a request that may safely be repeated while the homeserver restarts after a fault, which takes two seconds at most.

import { failureOf } from "./explain-error.ts";

const REPEAT_DELAYS_MS = [500, 1_000, 2_000];

/** Runs `request` again after "503 Service Unavailable", a bounded number of times. Any other failure is passed on at once. */
export async function whileRestarting<T>(request: () => Promise<T>): Promise<T> {
  for (const delayMs of REPEAT_DELAYS_MS) {
    try {
      return await request();
    } catch (error) {
      if (failureOf(error).httpStatus !== 503) throw error;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
  return request();
}
