// A request delivered twice by dying service workers happens once; deliberate repetitions happen as often as asked.
import { expect, test } from "vitest";
import { AnswerMemory, REMEMBERED_MAX, REMEMBERED_MAX_BYTES, REMEMBERED_MS } from "./answer-memory.ts";
import type { WireAnswer, WireRequest } from "../protocol/messages.ts";

class Homeserver {
  rooms = 0;
  #waiting: (() => void)[] = [];
  nowMs = 0;
  alive = new Set<string>();
  bodyBytes = 10;
  readonly memory = new AnswerMemory({ nowMs: () => this.nowMs, isAlive: (instance) => Promise.resolve(this.alive.has(instance)) });

  /** Creates a room when told to go on; every call is a room more. */
  readonly handle = async (request: WireRequest): Promise<WireAnswer> => {
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.rooms += 1;
    return { id: request.id, status: 200, headers: [["room", `!${this.rooms}`]], body: new Uint8Array(this.bodyBytes) };
  };

  ask(id: string, instance?: string, change: Partial<WireRequest> & { key?: string } = {}): Promise<WireAnswer> {
    const { key = "page POST createRoom", ...rest } = change;
    const redelivery = instance === undefined ? undefined : { instance, key };
    return this.memory.deliver({ id, method: "POST", url: "/_matrix/x", headers: [], redelivery, ...rest }, this.handle);
  }

  async goOn(): Promise<void> {
    await settle();
    for (const resolve of this.#waiting.splice(0)) resolve();
    await settle();
  }

  get begun(): number {
    return this.#waiting.length;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

const roomOf = async (answer: Promise<WireAnswer>) => (await answer).headers[0]?.[1];

test("a request whose service worker died unanswered is done once, and answered under the new id", async () => {
  const homeserver = new Homeserver();
  const first = homeserver.ask("1", "old");
  await settle();
  const second = homeserver.ask("2", "new");
  await homeserver.goOn();
  expect(homeserver.rooms).toBe(1);
  expect((await second).id).toBe("2");
  expect(await roomOf(second)).toBe(await roomOf(first));
});

test("also when the answer was ready but nobody had acknowledged it", async () => {
  const homeserver = new Homeserver();
  const first = homeserver.ask("1", "old");
  await homeserver.goOn();
  const second = homeserver.ask("2", "new");
  await homeserver.goOn();
  expect(await roomOf(second)).toBe(await roomOf(first));
  expect(homeserver.rooms).toBe(1);
});

test("also when the second service worker dies too", async () => {
  const homeserver = new Homeserver();
  void homeserver.ask("1", "first");
  await settle();
  void homeserver.ask("2", "second");
  await settle();
  const third = homeserver.ask("3", "third");
  await homeserver.goOn();
  expect(await roomOf(third)).toBe("!1");
  expect(homeserver.rooms).toBe(1);
});

test("two deliberate identical requests through one service worker are two", async () => {
  const homeserver = new Homeserver();
  const both = [homeserver.ask("1", "one"), homeserver.ask("2", "one")];
  await homeserver.goOn();
  expect(new Set(await Promise.all(both.map(roomOf))).size).toBe(2);
});

test("two deliberate identical requests stay two when both are delivered again", async () => {
  const homeserver = new Homeserver();
  void homeserver.ask("1", "old");
  void homeserver.ask("2", "old");
  await settle();
  const again = [homeserver.ask("3", "new"), homeserver.ask("4", "new")];
  await settle();
  const third = homeserver.ask("5", "new");
  await homeserver.goOn();
  expect(new Set(await Promise.all(again.map(roomOf))).size).toBe(2);
  expect(await roomOf(third)).toBe("!3");
  expect(homeserver.rooms).toBe(3);
});

test("what was acknowledged is not replayed", async () => {
  const homeserver = new Homeserver();
  const first = homeserver.ask("1", "old");
  await homeserver.goOn();
  await first;
  homeserver.memory.acknowledge("1");
  const deliberate = homeserver.ask("2", "new");
  await homeserver.goOn();
  expect(await roomOf(deliberate)).toBe("!2");
});

test("while the first service worker lives, an identical request through another is a deliberate one", async () => {
  const homeserver = new Homeserver();
  homeserver.alive.add("old");
  void homeserver.ask("1", "old");
  await settle();
  const second = homeserver.ask("2", "updated");
  await homeserver.goOn();
  expect(await roomOf(second)).toBe("!2");
});

test("another client, body or token is another request", async () => {
  const homeserver = new Homeserver();
  void homeserver.ask("1", "old");
  await settle();
  const other = homeserver.ask("2", "new", { key: "another page POST createRoom" });
  await homeserver.goOn();
  expect(await roomOf(other)).toBe("!2");
});

test("the same id again gets the same answer, in a tab that has no service worker too", async () => {
  const homeserver = new Homeserver();
  const first = homeserver.ask("1");
  await homeserver.goOn();
  const second = homeserver.ask("1");
  await homeserver.goOn();
  expect(await roomOf(second)).toBe(await roomOf(first));
  expect(homeserver.rooms).toBe(1);
});

test("a request that failed is not remembered as failed", async () => {
  const homeserver = new Homeserver();
  const memory = homeserver.memory;
  const request: WireRequest = { id: "1", method: "POST", url: "/_matrix/x", headers: [], redelivery: { instance: "a", key: "k" } };
  await expect(memory.deliver(request, () => Promise.reject(new Error("stopped")))).rejects.toThrow("stopped");
  expect(memory.size).toBe(0);
});

test("GET is done again and not remembered", async () => {
  const homeserver = new Homeserver();
  void homeserver.ask("1", "old", { method: "GET" });
  void homeserver.ask("2", "new", { method: "GET" });
  await settle();
  expect(homeserver.begun).toBe(2);
  expect(homeserver.memory.size).toBe(0);
});

test("an answer nobody comes back for is forgotten after a minute", async () => {
  const homeserver = new Homeserver();
  void homeserver.ask("1", "old");
  await homeserver.goOn();
  homeserver.nowMs += REMEMBERED_MS + 1;
  const late = homeserver.ask("2", "new");
  await homeserver.goOn();
  expect(await roomOf(late)).toBe("!2");
  expect(homeserver.memory.size).toBe(1);
});

test("a request that takes longer than a minute is still recognised", async () => {
  const homeserver = new Homeserver();
  void homeserver.ask("1", "old");
  await settle();
  homeserver.nowMs += 3 * REMEMBERED_MS;
  const again = homeserver.ask("2", "new");
  await homeserver.goOn();
  expect(await roomOf(again)).toBe("!1");
});

test("memory is bounded in number and in bytes", async () => {
  const homeserver = new Homeserver();
  for (let n = 0; n < REMEMBERED_MAX + 50; n++) {
    void homeserver.ask(`${n}`, "one");
    await homeserver.goOn();
  }
  expect(homeserver.memory.size).toBeLessThanOrEqual(REMEMBERED_MAX + 1);
  homeserver.bodyBytes = REMEMBERED_MAX_BYTES / 2;
  for (let n = 0; n < 5; n++) {
    void homeserver.ask(`big ${n}`, "one");
    await homeserver.goOn();
  }
  void homeserver.ask("last", "one");
  await homeserver.goOn();
  expect(homeserver.memory.size).toBeLessThanOrEqual(4);
});
