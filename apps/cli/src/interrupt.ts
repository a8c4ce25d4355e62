/**
 * Ctrl-C and SIGTERM: the first asks the command to end in good order, the second ends the process at once.
 */

/**
 * Runs `work` with a signal that the first interrupt aborts. A second one exits with 130.
 *
 * @param onInterrupt told once, for a line on stderr
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  onInterrupt: () => void = () => {},
): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
    onInterrupt();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}
