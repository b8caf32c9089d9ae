// Pages of a profile: the one that hosts says which paths its connections take, to whichever asks.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PATHS_WAIT_MAX_MS, SharedPaths } from "./shared-paths.ts";
import { Bus, settle } from "./testing/bus.ts";
import type { DirectPath } from "../protocol/messages.ts";

const PATHS: DirectPath[] = [{ peerId: "a", state: "connected", bytesSent: 1 }];
let bus: Bus;

beforeEach(() => {
  vi.useFakeTimers();
  bus = new Bus();
});
afterEach(() => vi.useRealTimers());

const page = (name: string, own?: DirectPath[]) => new SharedPaths({ profile: "p", open: bus.opener(name), own: () => own && Promise.resolve(own) });

test("the page that hosts knows, and tells the others", async () => {
  const [hosting, one, other] = [page("hosting", PATHS), page("one"), page("other")];
  expect(await hosting.get()).toEqual(PATHS);
  expect(await Promise.all([one.get(), other.get(), one.get()])).toEqual([PATHS, PATHS, PATHS]);
  expect(vi.getTimerCount()).toBe(0);
});

test("where nobody hosts, or its page stands still, that is known after a moment", async () => {
  const one = page("one");
  page("hosting", PATHS);
  page("other");
  bus.kill("hosting");
  let answer: unknown = "none yet";
  void one.get().then((paths) => (answer = paths));
  await vi.advanceTimersByTimeAsync(PATHS_WAIT_MAX_MS - 1);
  expect(answer).toBe("none yet");
  await vi.advanceTimersByTimeAsync(1);
  expect(answer).toBeUndefined();
});

test("who has closed neither asks nor answers", async () => {
  const [hosting, one] = [page("hosting", PATHS), page("one")];
  hosting.close();
  const asked = one.get();
  await settle();
  await vi.advanceTimersByTimeAsync(PATHS_WAIT_MAX_MS);
  expect(await asked).toBeUndefined();
});
