/** Smoothing of rows along chains, H-Net's equation 5 (arXiv 2507.07955), and its gradient. */
import type { Kernels } from './kernel.ts';

export const recurrences: Pick<Kernels, 'smoothRows' | 'smoothRowsGrad'> = {
  smoothRows([x, g, starts, y]) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    for (let n = 0; n < rows; n++) {
      const first = n === 0 || starts.data[n] !== 0;
      for (let c = 0; c < width; c++) {
        const i = n * width + c;
        y.data[i] = first ? x.data[i]! : g.data[n]! * x.data[i]! + (1 - g.data[n]!) * y.data[i - width]!;
      }
    }
  },

  smoothRowsGrad([x, g, starts, y, dy, dx, dg]) {
    const [rows, width] = [x.shape[0]!, x.shape[1]!];
    const carried = new Float64Array(width);
    for (let n = rows - 1; n >= 0; n--) {
      const first = n === 0 || starts.data[n] !== 0;
      let sum = 0;
      for (let c = 0; c < width; c++) {
        const i = n * width + c;
        const total = n + 1 < rows && starts.data[n + 1] === 0 ? dy.data[i]! + carried[c]! : dy.data[i]!;
        if (!first) sum += total * (x.data[i]! - y.data[i - width]!);
        dx.data[i] = first ? total : g.data[n]! * total;
        carried[c] = (1 - g.data[n]!) * total;
      }
      dg.data[n] = sum;
    }
  },
};
