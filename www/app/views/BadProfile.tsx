// The address names a profile that cannot be: says what a profile's name looks like, and offers the default one.

import { strings } from "../strings.ts";
import { Logo } from "./Logo.tsx";

export function BadProfile() {
  return (
    <div className="welcome">
      <main className="welcome-card">
        <Logo />
        <p role="alert">{strings.welcome.badProfile}</p>
        <a className="button primary" href={location.pathname}>
          {strings.welcome.badProfileFix}
        </a>
      </main>
    </div>
  );
}
