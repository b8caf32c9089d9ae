// When a view fails, the page says so and offers the way out, instead of going blank.

import { Component, type ReactNode } from "react";
import { strings } from "../strings.ts";

export class FaultBoundary extends Component<{ children: ReactNode }, { fault: string | undefined }> {
  override state = { fault: undefined };

  static getDerivedStateFromError(error: unknown): { fault: string } {
    return { fault: error instanceof Error ? error.message : String(error) };
  }

  override render(): ReactNode {
    if (this.state.fault === undefined) return this.props.children;
    return (
      <main className="welcome">
        <div className="welcome-card" role="alert">
          <h1>{strings.problem.crashTitle}</h1>
          <p>{strings.problem.crashText}</p>
          <p className="hint">{this.state.fault}</p>
          <button type="button" className="button primary" onClick={() => location.reload()}>
            {strings.status.reload}
          </button>
        </div>
      </main>
    );
  }
}
