// The one value the views see of the host: changed here, read by whoever subscribed.
import { NOTICES_KEPT, type HostNotice, type HostView, type Observable } from "./status.ts";

export class ViewState implements Observable<HostView> {
  #view: HostView;
  readonly #subscribers = new Set<() => void>();

  constructor(view: HostView) {
    this.#view = view;
  }

  get(): HostView {
    return this.#view;
  }

  subscribe(changed: () => void): () => void {
    this.#subscribers.add(changed);
    return () => this.#subscribers.delete(changed);
  }

  set(change: Partial<HostView>): void {
    this.#view = { ...this.#view, ...change };
    for (const changed of [...this.#subscribers]) changed();
  }

  note(kind: HostNotice["kind"], message: string, detail?: string): void {
    const notice: HostNotice = { atMs: Date.now(), kind, message, detail };
    this.set({ notices: [...this.#view.notices, notice].slice(-NOTICES_KEPT) });
  }
}
