/**
 * Calls `back` when there is reason to believe that something has changed that no socket tells: a
 * tab is shown or thawed, a page comes out of the cache, the network is another. Returns how to
 * stop. Without a window (in node) nothing is ever called.
 */
export function onWake(back: (isNewNetwork: boolean) => void): () => void {
  const { document } = globalThis;
  if (typeof addEventListener !== "function" || !document) return () => {};
  const online = (): void => back(true);
  const shown = (): void => {
    if (document.visibilityState === "visible") back(false);
  };
  const thawed = (): void => back(false);
  addEventListener("online", online);
  addEventListener("pageshow", shown);
  document.addEventListener("visibilitychange", shown);
  document.addEventListener("resume", thawed);
  return () => {
    removeEventListener("online", online);
    removeEventListener("pageshow", shown);
    document.removeEventListener("visibilitychange", shown);
    document.removeEventListener("resume", thawed);
  };
}
