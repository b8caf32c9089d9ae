// The homeserver of this worker: starts the wasm, passes requests to it, and notices when it trapped.
import { AnswerMemory } from "./answer-memory.ts";
import { chooseMemory } from "./persistence.ts";
import { isLongPoll, isNamed, unavailable } from "./wire.ts";
import type { Host } from "warren-browser";
import type { HostError, HostStatus, Hosting, PageConfig, StorageChoice, WireAnswer, WireRequest } from "../protocol/messages.ts";

/** What the wasm offers; a test puts something else in its place. */
export type LoadHost = () => Promise<{ Host: Pick<typeof Host, "start"> }>;

export interface LocalHomeserverOptions {
  profile: string;
  config: PageConfig;
  /** Where the page makes peer connections. */
  rtc?: MessagePort;
  load: LoadHost;
  nowMs: () => number;
  isAlive: (client: string) => Promise<boolean>;
  onHosting: (hosting: Hosting) => void;
  /** The store found that another leader writes: this worker must end. */
  onFenced: () => void;
  /** Called once what was in hand has been answered. */
  onFault: (message: string) => void;
}

type Running = Pick<Host, "handle" | "stop">;

export class LocalHomeserver {
  hosting: Hosting = { phase: "starting", storage: { kind: "indexeddb" } };
  readonly #memory: AnswerMemory;
  readonly #running: Promise<Running>;
  readonly #inFlight = new Map<object, (answer: WireAnswer) => void>();
  #over = false;

  constructor(private readonly options: LocalHomeserverOptions) {
    this.#memory = new AnswerMemory(options);
    this.#running = this.#start();
    // Every request waits for it and tells; alone it must not count as unhandled.
    this.#running.catch(() => undefined);
  }

  /**
   * Answers by the homeserver, once it has started; 503 when it could not. A long poll and a named request never settle
   * if the homeserver traps: they are lost with this leader, and asked again of the next.
   */
  serve(request: WireRequest): Promise<WireAnswer> {
    return this.#memory.deliver(request, (once) => this.#handle(once));
  }

  acknowledge(id: string): void {
    this.#memory.acknowledge(id);
  }

  /** Stops in order: what is committed stays, connections are closed. */
  async stop(): Promise<void> {
    this.#over = true;
    await this.#running.then((host) => host.stop()).catch(() => undefined);
  }

  /**
   * The wasm trapped: it answers nothing any more, or worse, wrongly. What it had in hand is answered 503; whether it
   * took effect is not known, what was acknowledged before is safe.
   */
  trapped(message: string): void {
    if (this.#over) return;
    this.#over = true;
    for (const answer of this.#inFlight.values()) answer(afterFault());
    this.#inFlight.clear();
    // The answers go out in the microtasks before.
    setTimeout(() => this.options.onFault(message));
  }

  async #start(): Promise<Running> {
    try {
      const { Host } = await this.options.load();
      const host = await this.#startOn(Host, { kind: "indexeddb" });
      this.#tell({ ...this.hosting, phase: "running" });
      return host;
    } catch (cause) {
      const error = hostError(cause);
      if (error.code === "fenced") this.options.onFenced();
      this.#tell({ ...this.hosting, phase: "failed", error });
      throw new StartFailed(error.message);
    }
  }

  async #startOn(host: Pick<typeof Host, "start">, storage: StorageChoice): Promise<Running> {
    const { profile, config, rtc } = this.options;
    const database = `warren/${profile}`;
    const { relays, iceServers, hideAddresses = false, serverNameSuffix, gateway } = config;
    this.hosting = { ...this.hosting, storage };
    try {
      const onStatus = (status: HostStatus) => {
        if (status.storage.error === "fenced") return this.options.onFenced();
        this.#tell({ ...this.hosting, status });
      };
      const names = { serverNameSuffix, gateway };
      return await host.start({ profile, database, storage: storage.kind, relays, iceServers, hideAddresses, ...names }, onStatus, rtc);
    } catch (error) {
      const instead = storage.kind === "indexeddb" && hostError(error).code === "storage_unavailable" && (await chooseMemory());
      if (instead) return this.#startOn(host, instead);
      throw error;
    }
  }

  async #handle(request: WireRequest): Promise<WireAnswer> {
    const isAskedAgain = isLongPoll(request) || isNamed(request);
    if (this.#over) return isAskedAgain ? new Promise(() => undefined) : afterFault(request.id);
    const trapped = new Promise<WireAnswer>((resolve) => {
      if (!isAskedAgain) this.#inFlight.set(request, resolve);
    });
    try {
      return { ...(await Promise.race([this.#ask(request), trapped])), id: request.id };
    } finally {
      this.#inFlight.delete(request);
    }
  }

  async #ask({ id, method, url, headers, body }: WireRequest): Promise<WireAnswer> {
    let host: Running;
    try {
      host = await this.#running;
    } catch (error) {
      return unavailable(id, `The homeserver could not start: ${messageOf(error)}`);
    }
    try {
      return { id, ...(await host.handle(method, url, headers, body)) };
    } catch (error) {
      // Documented to reject only after a stop or a trap; a stop has been told to everybody already.
      this.trapped(messageOf(error));
      return new Promise(() => undefined);
    }
  }

  #tell(hosting: Hosting): void {
    if (this.#over) return;
    this.hosting = hosting;
    this.options.onHosting(hosting);
  }
}

class StartFailed extends Error {}

function afterFault(id = ""): WireAnswer {
  return unavailable(id, "The homeserver stopped at a fault and is being restarted; whether the request took effect is not known.");
}

function hostError(cause: unknown): HostError {
  if (typeof cause === "object" && cause !== null && "code" in cause && "message" in cause) {
    return { code: cause.code as HostError["code"], message: String(cause.message) };
  }
  return { code: "internal", message: messageOf(cause) };
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
