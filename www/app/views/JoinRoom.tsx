// A link was opened: joins its room, says how it goes, and why if it does not.

import { useEffect, useMemo, useState } from "react";
import type { Account } from "../models/account.ts";
import { relayState } from "../models/host-signals.ts";
import type { JoinLink, ParsedJoinLink } from "../models/join-link.ts";
import { Joining, type JoinStep } from "../models/joining.ts";
import { formatRoute } from "../models/route.ts";
import { strings } from "../strings.ts";
import { Icon } from "./Icon.tsx";
import { PaneHeader } from "./PaneHeader.tsx";
import { usePage } from "./page.ts";
import { useReadable } from "./use-readable.ts";
import { replaceRoute } from "./use-route.ts";

const SLOW_MS = 6_000;

export function JoinRoom({ account, parsed }: { account: Account; parsed: ParsedJoinLink }) {
  return (
    <section className="main page">
      <PaneHeader title={strings.join.title} back={{ view: "home" }} backShown="close" />
      <div className="page-body centred">{parsed.ok ? <JoinByLink account={account} link={parsed.link} /> : <Failure title={strings.join.badLinkTitle} why={strings.join.problem[parsed.problem]} />}</div>
    </section>
  );
}

function JoinByLink({ account, link }: { account: Account; link: JoinLink }) {
  const { host } = usePage();
  const joining = useMemo(() => new Joining(account, link, relayState(host.status)), [account, link, host]);
  const step = useReadable(joining.step);
  useEffect(() => {
    void joining.start();
    return () => joining.stop();
  }, [joining]);
  useEffect(() => {
    if (step.at === "joined") replaceRoute({ view: "room", roomId: step.roomId });
  }, [step]);
  if (step.at === "failed") return <Failure title={step.title} why={step.why} onRetry={step.forGood ? undefined : () => void joining.start()} />;
  return <Progress key={step.at} step={step} />;
}

function Progress({ step }: { step: Exclude<JoinStep, { at: "failed" }> }) {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), SLOW_MS);
    return () => clearTimeout(timer);
  }, []);
  const words = strings.join;
  const text = step.at === "waiting-for-relay" ? words.waitingForRelay : slow ? words.askingSlow : words.asking;
  return (
    <>
      <span className="spinner" aria-hidden="true" />
      <p role="status">{text}</p>
    </>
  );
}

function Failure({ title, why, onRetry }: { title: string; why: string; onRetry?: () => void }) {
  return (
    <>
      <div className="failure-sign">
        <Icon name="alert" />
      </div>
      <div role="alert">
        <h2>{title}</h2>
        <p>{why}</p>
      </div>
      <div className="button-row">
        {onRetry && (
          <button type="button" className="button primary" onClick={onRetry}>
            {strings.general.retry}
          </button>
        )}
        <a className="button" href={formatRoute({ view: "home" })}>
          {strings.join.home}
        </a>
      </div>
    </>
  );
}
