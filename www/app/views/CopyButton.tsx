// Copies a text and says whether that worked.

import { useEffect, useState } from "react";
import { strings } from "../strings.ts";
import { Icon } from "./Icon.tsx";

const SAID_FOR_MS = 2_500;

export function CopyButton({ text, label = strings.general.copy }: { text: string | (() => string); label?: string }) {
  const [outcome, setOutcome] = useState<"copied" | "failed">();
  useEffect(() => {
    if (outcome === undefined) return undefined;
    const timer = setTimeout(() => setOutcome(undefined), SAID_FOR_MS);
    return () => clearTimeout(timer);
  }, [outcome]);
  const copy = async (): Promise<void> => {
    try {
      // Missing outside of secure contexts, which is one way to fail.
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      setOutcome("copied");
    } catch {
      setOutcome("failed");
    }
  };
  return (
    <>
      <button type="button" className="button" onClick={() => void copy()}>
        <Icon name={outcome === "copied" ? "check" : "copy"} />
        {outcome === "copied" ? strings.general.copied : label}
      </button>
      <span role="status" className={outcome === "failed" ? "problem" : "unseen"}>
        {outcome === "failed" ? strings.general.copyFailed : outcome === "copied" ? strings.general.copied : ""}
      </span>
    </>
  );
}
