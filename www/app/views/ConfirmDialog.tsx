// Asks before something that cannot be taken back, does it, and says so if it fails.

import { useState, type ReactNode } from "react";
import { explainError } from "../models/explain-error.ts";
import { strings } from "../strings.ts";
import { Dialog } from "./Dialog.tsx";

export interface ConfirmDialogProps {
  title: string;
  text: string;
  /** What the button that does it says. */
  action: string;
  /** Further fields of the question. */
  children?: ReactNode;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

export function ConfirmDialog({ title, text, action, children, onConfirm, onClose }: ConfirmDialogProps) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const confirm = async (): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setProblem(strings.people.failed(explainError(error)));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault();
          void confirm();
        }}
      >
        <p>{text}</p>
        {children}
        {problem !== undefined && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <div className="dialog-buttons">
          <button type="button" className="button" onClick={onClose}>
            {strings.general.cancel}
          </button>
          <button type="submit" className="button danger" disabled={busy}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
