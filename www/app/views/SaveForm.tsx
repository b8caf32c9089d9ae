// A form that is saved where one is, and says below itself what came of it.

import type { ReactNode } from "react";
import { explainError } from "../models/explain-error.ts";
import { strings } from "../strings.ts";

/** What came of saving, in words. */
export interface Outcome {
  saved: boolean;
  text: string;
}

/** Does what saving takes, unless there is something wrong with what would be saved. */
export async function outcomeOf(wrong: string | undefined, save: () => Promise<unknown>): Promise<Outcome> {
  if (wrong !== undefined) return { saved: false, text: wrong };
  try {
    await save();
    return { saved: true, text: strings.general.saved };
  } catch (error) {
    return { saved: false, text: explainError(error) };
  }
}

export function SaveForm({ onSave, outcome, children }: { onSave: () => void; outcome: Outcome | undefined; children: ReactNode }) {
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        onSave();
      }}
    >
      {children}
      <p role="status" className={outcome?.saved === false ? "problem" : "hint"}>
        {outcome?.text}
      </p>
    </form>
  );
}
