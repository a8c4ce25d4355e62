/**
 * The fused blocks of a transformer layer around its products: RMSNorm (Zhang and Sennrich 2019), rotary
 * position embedding (Su et al. 2021, RoFormer, section 3.2) and SwiGLU (Shazeer 2020), with gradients.
 */
import { sigmoid, silu, siluSlope } from './elementwise.ts';
import type { Kernels } from './kernel.ts';

export const normalisation: Pick<Kernels, 'rmsNorm' | 'rmsNormGrad' | 'rope' | 'swiglu' | 'swigluGrad'> = {
  rmsNorm([x, w, y, rstd], { eps }) {
    const width = w.data.length;
    for (let n = 0; n < rstd.data.length; n++) {
      let squares = 0;
      for (let c = 0; c < width; c++) squares += x.data[n * width + c]! ** 2;
      const scale = 1 / Math.sqrt((width > 0 ? squares / width : 0) + eps);
      rstd.data[n] = scale;
      for (let c = 0; c < width; c++) y.data[n * width + c] = x.data[n * width + c]! * scale * w.data[c]!;
    }
  },

  rmsNormGrad([x, w, rstd, dy, dx, dw]) {
    const width = w.data.length;
    const sums = new Float64Array(width);
    for (let n = 0; n < rstd.data.length; n++) {
      const scale = rstd.data[n]!;
      let mean = 0;
      for (let c = 0; c < width; c++) {
        const i = n * width + c;
        mean += (w.data[c]! * dy.data[i]! * x.data[i]!) / width;
        sums[c] = sums[c]! + dy.data[i]! * x.data[i]! * scale;
      }
      for (let c = 0; c < width; c++) {
        const i = n * width + c;
        dx.data[i] = scale * (w.data[c]! * dy.data[i]! - x.data[i]! * scale * scale * mean);
      }
    }
    dw.data.set(sums);
  },

  rope([x, cos, sin, positions, y], { start, layout, inverse }) {
    const [rows, heads, width] = [x.shape[0]!, x.shape[1]!, x.shape[2]!];
    const [tableRows, half] = [cos.shape[0]!, cos.shape[1]!];
    y.data.set(x.data);
    for (let n = 0; n < rows; n++) {
      const position = positions.data[n]!;
      const inside = position >= 0 && position < tableRows;
      for (let h = 0; h < heads; h++) {
        const base = (n * heads + h) * width + start;
        for (let i = 0; i < half; i++) {
          const [first, second] =
            layout === 'interleaved' ? [base + 2 * i, base + 2 * i + 1] : [base + i, base + half + i];
          if (!inside) {
            y.data[first] = y.data[second] = 0;
            continue;
          }
          const c = cos.data[position * half + i]!;
          const s = sin.data[position * half + i]! * (inverse ? -1 : 1);
          y.data[first] = x.data[first]! * c - x.data[second]! * s;
          y.data[second] = x.data[first]! * s + x.data[second]! * c;
        }
      }
    }
  },

  swiglu([gate, up, y]) {
    for (let i = 0; i < y.data.length; i++) y.data[i] = silu(gate.data[i]!) * up.data[i]!;
  },

  swigluGrad([gate, up, dy, dgate, dup]) {
    for (let i = 0; i < dy.data.length; i++) {
      dgate.data[i] = dy.data[i]! * up.data[i]! * siluSlope(gate.data[i]!);
      dup.data[i] = dy.data[i]! * gate.data[i]! * sigmoid(gate.data[i]!);
    }
  },
};
