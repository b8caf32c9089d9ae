// Warren's sign: a rabbit looking out of its burrow.

export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 48 48" aria-hidden="true" focusable="false">
      <rect className="logo-ground" width="48" height="48" rx="12" />
      <ellipse className="logo-rabbit" cx="19.5" cy="15" rx="3.4" ry="9" transform="rotate(-9 19.5 15)" />
      <ellipse className="logo-rabbit" cx="28.5" cy="15" rx="3.4" ry="9" transform="rotate(9 28.5 15)" />
      <path className="logo-rabbit" d="M12 40c0-9 4.5-16 12-16s12 7 12 16z" />
      <circle className="logo-ground" cx="20" cy="32" r="1.6" />
      <circle className="logo-ground" cx="28" cy="32" r="1.6" />
    </svg>
  );
}
