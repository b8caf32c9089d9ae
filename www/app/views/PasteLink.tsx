// Opens a link that was sent as text, for those who cannot click it.

import { useState } from "react";
import { parsePastedLink } from "../models/join-link.ts";
import { formatJoinLink } from "../models/join-link.ts";
import { strings } from "../strings.ts";
import { PaneHeader } from "./PaneHeader.tsx";

export function PasteLink() {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string>();
  const words = strings.pasteLink;
  const open = (): void => {
    const parsed = parsePastedLink(text);
    if (parsed.ok) location.hash = formatJoinLink("", parsed.link);
    else setProblem(strings.join.problem[parsed.problem]);
  };
  return (
    <section className="main page">
      <PaneHeader title={words.title} back={{ view: "home" }} backShown="close" />
      <form
        className="form page-body"
        onSubmit={(event) => {
          event.preventDefault();
          open();
        }}
      >
        <label htmlFor="pasted-link">{words.label}</label>
        <textarea
          id="pasted-link"
          className="field"
          data-autofocus=""
          rows={4}
          spellCheck={false}
          placeholder={words.placeholder}
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            open();
          }}
          aria-describedby="pasted-link-hint"
          aria-invalid={problem !== undefined}
        />
        <p id="pasted-link-hint" className={problem === undefined ? "hint" : "problem"} role={problem === undefined ? undefined : "alert"}>
          {problem ?? words.hint}
        </p>
        <button type="submit" className="button primary large">
          {words.open}
        </button>
      </form>
    </section>
  );
}
