/**
 * Leak reports for debugging: tells when an arena was collected without `dispose`.
 *
 * Memory itself is never managed by the garbage collector: without a report hook nothing is registered.
 */
let hook: ((label: string) => void) | null = null;
let registry: FinalizationRegistry<string> | null = null;

/**
 * Calls `report` with the label of every arena made from now on that is collected before it was disposed.
 * Pass null to stop.
 *
 * @example
 * reportLeaks((label) => console.warn(`arena "${label}" was never disposed`));
 */
export function reportLeaks(report: ((label: string) => void) | null): void {
  hook = report;
  registry ??= new FinalizationRegistry((label) => hook?.(label));
}

/** Starts watching an arena, when a hook is set. */
export function trackLeaks(arena: object, label: string): void {
  if (hook !== null) registry?.register(arena, label, arena);
}

/** The arena was disposed. */
export function untrackLeaks(arena: object): void {
  registry?.unregister(arena);
}
