// Named channels between the workers of a profile; BroadcastChannel, or whatever a test puts in its place.
import type { ElectionMessage, LinkAnswer, LinkRequest, PathsMessage } from "../protocol/messages.ts";

export interface Channel<In, Out> {
  post(message: Out): void;
  close(): void;
  /** Set once, right after opening. */
  onMessage: (message: In) => void;
}

export type OpenChannel = <In, Out>(name: string) => Channel<In, Out>;

export type ElectionChannel = Channel<ElectionMessage, ElectionMessage>;
export type LinkClientChannel = Channel<LinkAnswer, LinkRequest>;
export type LinkServerChannel = Channel<LinkRequest, LinkAnswer>;
export type PathsChannel = Channel<PathsMessage, PathsMessage>;

/** Where the browser refuses channels (Firefox with storage blocked) every tab is alone, and hosts for itself. */
export const openBroadcast: OpenChannel = <In, Out>(name: string) => {
  let broadcast: BroadcastChannel;
  try {
    broadcast = new BroadcastChannel(name);
  } catch {
    return { post: () => undefined, close: () => undefined, onMessage: () => undefined } satisfies Channel<In, Out>;
  }
  let open = true;
  const channel: Channel<In, Out> = {
    post: (message) => {
      if (open) broadcast.postMessage(message);
    },
    close: () => {
      open = false;
      broadcast.close();
    },
    onMessage: () => undefined,
  };
  broadcast.onmessage = (event: MessageEvent<In>) => {
    if (open) channel.onMessage(event.data);
  };
  return channel;
};

export function electionChannelName(profile: string): string {
  return `warren/${profile}`;
}

/** Of the two ends alone, so that bodies are copied once and to nobody else. */
export function linkChannelName(profile: string, leader: string, client: string): string {
  return `warren/${profile}/${leader}/${client}`;
}

export function pathsChannelName(profile: string): string {
  return `warren/${profile}/paths`;
}
