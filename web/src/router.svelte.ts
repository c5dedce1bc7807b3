// Where we are. Paths are relative to the page's base, so the page works below whatever path a proxy puts it.

import { moved, route, type Route } from './core/routes';

const element = document.querySelector('base');

/** The page's root, absolute: fixed before the first change of address. */
export const base: string = document.baseURI.replace(/[^/]*$/, '');
/** Where others reach this server: as it was configured, else where we did. For what is copied and used elsewhere. */
export const publicRoot: string = element?.dataset['external'] ?? base;
if (element) element.href = base;

function here(): Route {
  const url = new URL(location.href);
  const root = new URL(base).pathname;
  const path = url.pathname.startsWith(root) ? url.pathname.slice(root.length) : url.pathname;
  const target = moved(path, url.searchParams);
  if (target === undefined) return route(path, url.searchParams);
  history.replaceState(null, '', new URL(target, base));
  return here();
}

class Router {
  now = $state.raw<Route>(here());

  constructor() {
    addEventListener('popstate', () => (this.now = here()));
    document.addEventListener('click', (event) => this.click(event));
  }

  /** Goes to a path of ours; `replace` leaves no step to come back to. */
  go(path: string, replace = false): void {
    const url = new URL(path, base);
    if (url.href === location.href) replace = true;
    history[replace ? 'replaceState' : 'pushState'](null, '', url);
    const before = this.now.page;
    this.now = here();
    if (this.now.page !== before) scrollTo(0, 0);
  }

  /** Links between pages need no loading. */
  private click(event: MouseEvent): void {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target !== '' || link.hasAttribute('download') || !link.href.startsWith(base)) return;
    const url = new URL(link.href);
    const path = url.pathname.slice(new URL(base).pathname.length);
    if (route(path, url.searchParams).page === 'unknown' && moved(path, url.searchParams) === undefined) return;
    // To a place on this page: the browser goes there.
    if (url.hash !== '') return;
    event.preventDefault();
    this.go(link.href);
  }
}

export const router = new Router();
