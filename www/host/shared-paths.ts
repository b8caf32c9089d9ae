// Only the page that makes the peer connections can say which paths they take; the profile's other tabs ask it here.
import { pathsChannelName, type OpenChannel, type PathsChannel } from "./channel.ts";
import { newId } from "./wire.ts";
import type { DirectPath } from "../protocol/messages.ts";

/** Who has not said it by then does not host, or stands still. */
export const PATHS_WAIT_MAX_MS = 1_000;

export interface SharedPathsOptions {
  profile: string;
  open: OpenChannel;
  /** Of this page's connections; undefined while another tab hosts. */
  own: () => Promise<DirectPath[]> | undefined;
}

export class SharedPaths {
  readonly #channel: PathsChannel;
  readonly #asking = new Map<string, (paths: DirectPath[]) => void>();

  constructor(private readonly options: SharedPathsOptions) {
    this.#channel = options.open(pathsChannelName(options.profile));
    this.#channel.onMessage = (message) => {
      if (message.type === "paths?") void this.#answer(message.id);
      else this.#asking.get(message.id)?.(message.paths);
    };
  }

  /** Here or in the tab that hosts; undefined if none answers. */
  get(): Promise<DirectPath[] | undefined> {
    return this.options.own() ?? this.#ask();
  }

  close(): void {
    this.#channel.close();
  }

  #ask(): Promise<DirectPath[] | undefined> {
    const id = newId();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#conclude(id, resolve, undefined), PATHS_WAIT_MAX_MS);
      this.#asking.set(id, (paths) => {
        clearTimeout(timer);
        this.#conclude(id, resolve, paths);
      });
      this.#channel.post({ type: "paths?", id });
    });
  }

  #conclude(id: string, resolve: (paths?: DirectPath[]) => void, paths: DirectPath[] | undefined): void {
    this.#asking.delete(id);
    resolve(paths);
  }

  async #answer(id: string): Promise<void> {
    const paths = await this.options.own();
    if (paths) this.#channel.post({ type: "paths", id, paths });
  }
}
