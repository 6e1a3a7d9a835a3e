/* SPDX-License-Identifier: Apache-2.0
 *
 * Pictures of searches: the best so far, and the metric of each trial as it went on.
 * Lines and dots are drawn on a canvas, since there may be thousands; axes, marks and
 * text are SVG above it.
 */

const CURVES_MAX = 2000;
const INKS = ['card', 'line', 'edge', 'soft', 'faint', 'fg', 'accent', 'failed', 'c0',
    'c1', 'c2', 'c4', 'c7'];

/* --- pictures --- */

/* Colours as a canvas takes them. */
function inksOf(box)
{
    const probe = el('i', { hidden: true });
    const inks = {};
    box.append(probe);
    for (const name of INKS) {
        probe.style.color = 'var(--' + name + ')';
        inks[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    return inks;
}

/* draw(ctx, top, width, height, inks) draws all; whatever marks one trial goes into
 * top.lastChild, which stays empty. */
function plot(view, label, height, draw)
{
    const canvas = el('canvas', { 'aria-hidden': 'true' });
    const top = svg('svg', { role: 'img', tabindex: 0, 'aria-label': label });
    const box = el('div', { class: 'plot' }, canvas, top);
    const layer = svg('g');
    let due = false;
    const made = { box, top, layer, redraw, later };
    box.style.height = height + 'px';

    /* Once before the next frame, however often it is asked for. */
    function later()
    {
        if (!due)
            requestAnimationFrame(() => {
                due = false;
                redraw();
            });
        due = true;
    }

    function redraw()
    {
        const width = box.clientWidth, ratio = devicePixelRatio || 1;
        if (width === 0)
            return;
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
        const ctx = canvas.getContext('2d');
        ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
        ctx.clearRect(0, 0, width, height);
        ctx.lineJoin = 'round';
        top.setAttribute('viewBox', '0 0 ' + width + ' ' + height);
        layer.replaceChildren();
        top.replaceChildren();
        draw(ctx, top, width, height, inksOf(box));
        top.append(layer);
    }

    view.redraws.push(redraw);
    new ResizeObserver(redraw).observe(box);
    return made;
}

function redrawAll(view)
{
    view.redraws.forEach((redraw) => redraw());
}

function quantile(sorted, part)
{
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

/* The range of the metric that is shown: a few trials that went far astray do not press
 * all others flat; how many values lie beyond is told. */
function metricRange(view, values)
{
    const sorted = values.slice().sort((a, b) => a - b);
    const max = view.search.mode === 'max';
    let y0 = sorted[0], y1 = sorted[sorted.length - 1];
    const best = max ? y1 : y0;
    const usual = quantile(sorted, max ? 0.1 : 0.9), spread = Math.abs(usual - best);
    const far = Math.abs((max ? y0 : y1) - best) > 2 * spread && spread > 0;
    if (far && max)
        y0 = best - spread * 1.25;
    else if (far)
        y1 = best + spread * 1.25;
    const cut = sorted.filter((v) => v < y0 || v > y1).length;
    const pad = (y1 - y0) * 0.06 || Math.abs(y0) * 0.1 || 1;
    return { y0: far && max ? y0 : y0 - pad, y1: far && !max ? y1 : y1 + pad, cut,
        low: Math.max(y0, sorted[0]), high: Math.min(y1, sorted[sorted.length - 1]) };
}

function logTicks(low, high)
{
    const ticks = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
        for (const unit of high / low < 200 ? [1, 2, 5] : [1])
            if (unit * 10 ** p >= low * 0.999 && unit * 10 ** p <= high * 1.001)
                ticks.push(Number((unit * 10 ** p).toPrecision(3)));
    return ticks.length > 8 ? ticks.filter((_, i) =>
        i % Math.ceil(ticks.length / 8) === 0) : ticks;
}

/* x and y of a picture: {x0,x1,y0,y1} in numbers, the frame in pixels. */
function plotScales(range, width, height)
{
    const left = 58, right = 14, top = 20, bottom = 28;
    const w = Math.max(1, width - left - right), h = height - top - bottom;
    const map = range.log ? Math.log : (v) => v;
    const a = map(range.x0), b = map(range.x1);
    return { left, top, right: left + w, bottom: top + h,
        x: (v) => left + (b > a ? (map(v) - a) / (b - a) : 0.5) * w,
        y: (v) => top + (1 - (Math.min(Math.max(v, range.y0), range.y1) - range.y0) /
            (range.y1 - range.y0)) * h };
}

function plotGrid(ctx, top, s, range, inks, xText)
{
    ctx.strokeStyle = inks.line;
    ctx.lineWidth = 1;
    for (const value of niceTicks(range.y0, range.y1, 5)) {
        const y = Math.round(s.y(value)) + 0.5;
        ctx.beginPath();
        ctx.moveTo(s.left, y);
        ctx.lineTo(s.right, y);
        ctx.stroke();
        top.append(svg('text', { x: s.left - 8, y: y + 3.5, 'text-anchor': 'end' },
            number(value)));
    }
    const ticks = range.log ? logTicks(range.x0, range.x1)
        : niceTicks(range.x0, range.x1, Math.max(2, Math.floor((s.right - s.left) / 90)));
    for (const value of ticks)
        top.append(svg('text', { x: s.x(value), y: s.bottom + 18,
            'text-anchor': s.x(value) > s.right - 20 ? 'end' : 'middle' },
        xText ? xText(value) : number(value)));
}

/* --- one trial --- */

function trialTip(view, trial, x, y)
{
    view.marks.forEach((mark) => mark(trial));
    const rows = [['state', trial.state + (trial.why ? ': ' + trial.why : '')],
        [view.search.metric, trial.value === undefined ? undefined
            : number(trial.value) + (trial.at === undefined ? '' : ' at ' +
                view.search.unit + ' ' + number(trial.at))],
        ['goes on from', trial.from === undefined ? undefined : 'trial ' + trial.from],
        ...view.keys.slice(0, 14).map((key) => [shortKey(view, key),
            valueText(trial.config[key])])];
    tipShow(x, y, 'Trial ' + trial.n + (trial === view.best ? ', the best' : ''), rows);
}

function trialUntip(view)
{
    view.marks.forEach((mark) => mark(null));
    tipHide();
}

/* find(x, y) -> the trial at a place of the picture; place(trial) -> [x, y], or null. */
function plotPointer(view, made, find, place, order)
{
    let at = -1;
    made.top.addEventListener('pointermove', (event) => {
        const box = made.box.getBoundingClientRect();
        const trial = find(event.clientX - box.left, event.clientY - box.top);
        if (trial)
            trialTip(view, trial, event.clientX, event.clientY);
        else
            trialUntip(view);
        made.over = trial;
    });
    made.top.addEventListener('pointerleave', () => trialUntip(view));
    made.top.addEventListener('blur', () => trialUntip(view));
    made.top.addEventListener('click', () => {
        if (made.over && !made.dragged && byAddress.has(trialAddress(view, made.over)))
            openStep(trialAddress(view, made.over));
    });
    made.top.addEventListener('keydown', (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        const list = order();
        if (event.target !== made.top || !by || list.length === 0)
            return;
        event.preventDefault();
        at = Math.min(Math.max(at < 0 ? list.length - 1 : at + by, 0), list.length - 1);
        const box = made.box.getBoundingClientRect();
        const [x, y] = place(list[at]) || [box.width / 2, 40];
        trialTip(view, list[at], box.left + x, box.top + y);
    });
}

function figureCard(title, tools, made, caption)
{
    return el('figure', { class: 'card figure' }, el('header', null,
        el('h3', null, title), el('div', { class: 'tools' }, tools)), made,
    el('figcaption', null, caption));
}

function toggle(names, at, change)
{
    const buttons = names.map((name, i) => el('button', { class: 'switch',
        'aria-pressed': String(i === at), on: { click: () => {
            buttons.forEach((one, k) => one.setAttribute('aria-pressed',
                String(k === i)));
            change(i);
        } } }, name));
    return names.length > 1 ? buttons : [];
}

function isPicked(view, trial)
{
    return !view.picked || view.picked.has(trial);
}

function stateKey(view, states)
{
    return el('div', { class: 'key' }, el('span', null,
        el('i', { class: 'dot k1' }), 'best'),
    states.filter((state) => view.search.counts[state]).map((state) => el('span', null,
        el('i', { class: 'dot t-' + state }), state)));
}

/* --- best so far --- */

function cutText(range)
{
    return range.cut ? ' ' + plural(range.cut, 'value') +
        ' beyond the picture at its edge.' : '';
}

/* The steps from best to best of trials in the order in which they ended. */
function drawBestLine(ctx, view, list, place, right)
{
    let best, y;
    ctx.lineWidth = 2.2;
    ctx.beginPath();
    for (const t of list) {
        if (t.state === 'failed' || (best !== undefined &&
            !isBetter(view, t.value, best)))
            continue;
        const at = place(t);
        if (best === undefined)
            ctx.moveTo(...at);
        else
            ctx.lineTo(at[0], y);
        ctx.lineTo(...at);
        best = t.value;
        y = at[1];
    }
    if (best !== undefined)
        ctx.lineTo(right, y);
    ctx.stroke();
}

function drawDots(ctx, view, list, place, inks)
{
    const r = list.length > 2000 ? 1.4 : list.length > 300 ? 2 : 3;
    for (const t of list) {
        ctx.globalAlpha = isPicked(view, t) ? 0.75 : 0.08;
        ctx.fillStyle = inks[TRIAL_INK[t.state]];
        ctx.beginPath();
        ctx.arc(...place(t), r, 0, 7);
        ctx.fill();
    }
    ctx.globalAlpha = 1;
}

function nearestDot(list, place, px, py)
{
    let found = null, least = 40 * 40;
    for (const t of list) {
        const [x, y] = place(t);
        const far = (x - px) ** 2 + (y - py) ** 2;
        if (far < least) {
            least = far;
            found = t;
        }
    }
    return found;
}

function bestSoFar(view)
{
    const list = view.trials.filter((t) => t.order && t.value !== undefined)
        .sort((a, b) => a.order - b.order);
    if (list.length === 0)
        return null;
    const range = metricRange(view, list.map((t) => t.value));
    const known = new Set(list);
    let byTime = false, scales;
    const x = (t) => byTime ? t.end / 1000 : t.order;
    const place = (t) => scales && known.has(t)
        ? [scales.x(x(t)), scales.y(t.value)] : null;
    const made = plot(view, 'Best ' + view.search.metric + ' so far over ' +
        plural(list.length, 'trial') + ': ' + (view.best ? number(view.best.value) +
        ' in trial ' + view.best.n : 'none'), 250,
    (ctx, top, width, height, inks) => {
        range.x0 = byTime ? x(list[0]) : 1;
        range.x1 = list.reduce((most, t) => Math.max(most, x(t)), range.x0);
        scales = plotScales(range, width, height);
        plotGrid(ctx, top, scales, range, inks, byTime && ((v) => duration(v * 1000)));
        drawDots(ctx, view, list, place, inks);
        ctx.strokeStyle = inks.c1;
        drawBestLine(ctx, view, list, place, scales.x(range.x1));
    });
    plotPointer(view, made, (px, py) => nearestDot(list, place, px, py), place,
        () => list);
    view.marks.push((t) => {
        const at = t && place(t);
        made.layer.replaceChildren(...at ? [svg('circle', { class: 'marked', cx: at[0],
            cy: at[1], r: 5.5 })] : []);
    });
    const tools = toggle(['by trial', 'by time'], 0, (i) => {
        byTime = i === 1;
        made.redraw();
    });
    return figureCard('Best so far', tools, made.box, [stateKey(view,
        ['completed', 'stopped', 'failed']), 'Each dot is a trial, in the order in ' +
        'which they ended; the line is the best ' + view.search.metric +
        ' until then.' + cutText(range)]);
}

/* --- the metric of each trial as it went on --- */

function spread(list, most, always)
{
    if (list.length <= most)
        return list;
    const some = new Set(always.filter(Boolean));
    const count = most - some.size, by = list.length / count;
    for (let i = 0; i < count; i++)
        some.add(list[Math.floor(i * by)]);
    return list.filter((one) => some.has(one));
}

function drawEnd(ctx, trial, x, y, inks)
{
    ctx.strokeStyle = ctx.fillStyle = inks[TRIAL_INK[trial.state]];
    ctx.lineWidth = 1.6;
    ctx.beginPath();
    if (trial.state === 'stopped') {
        ctx.rect(x - 2.2, y - 2.2, 4.4, 4.4);
        ctx.fill();
    } else if (trial.state === 'failed') {
        ctx.moveTo(x - 3, y - 3);
        ctx.lineTo(x + 3, y + 3);
        ctx.moveTo(x + 3, y - 3);
        ctx.lineTo(x - 3, y + 3);
        ctx.stroke();
    } else {
        ctx.arc(x, y, 2.4, 0, 7);
        trial.state === 'completed' ? ctx.fill() : ctx.stroke();
    }
}

function drawRungs(ctx, top, view, scales, range, inks)
{
    let last = -Infinity;
    ctx.save();
    ctx.setLineDash([3, 4]);
    ctx.strokeStyle = inks.edge;
    ctx.lineWidth = 1;
    for (const rung of view.search.rungs.filter((r) => r >= range.x0 && r <= range.x1)) {
        const x = Math.round(scales.x(rung)) + 0.5;
        ctx.beginPath();
        ctx.moveTo(x, scales.top);
        ctx.lineTo(x, scales.bottom);
        ctx.stroke();
        const text = (last === -Infinity ? 'rung ' : '') + number(rung);
        if (x - last > 34)
            top.append(svg('text', { x, y: scales.top - 7, 'text-anchor':
                x > scales.right - 24 ? 'end' : 'middle' }, text));
        last = x - last > 34 ? x : last;
    }
    ctx.restore();
}

/* What all curves span; steps are shown by their logarithm where rungs grow so. */
function curveRange(view, list)
{
    const values = [], rungs = view.search.rungs;
    let x0 = Infinity, x1 = -Infinity;
    for (const t of list)
        for (let i = 0; i < t.curve.length; i += 2) {
            x0 = Math.min(x0, t.curve[i]);
            x1 = Math.max(x1, t.curve[i]);
            values.push(t.curve[i + 1]);
        }
    const mayLog = x0 > 0 && x1 / x0 >= 8;
    return Object.assign(metricRange(view, values), { x0, x1, mayLog,
        log: mayLog && rungs.length >= 3 && rungs[rungs.length - 1] / rungs[0] >= 8 });
}

/* to(first, x, y) for each point of a curve. */
function curvePath(t, scales, to)
{
    for (let i = 0; i < t.curve.length; i += 2)
        to(i === 0, scales.x(t.curve[i]), scales.y(t.curve[i + 1]));
}

function curveEnd(t, scales)
{
    return [scales.x(t.curve[t.curve.length - 2]), scales.y(t.curve[t.curve.length - 1])];
}

function drawCurve(ctx, t, scales, ink, width, opacity)
{
    ctx.globalAlpha = opacity;
    ctx.strokeStyle = ink;
    ctx.lineWidth = width;
    ctx.beginPath();
    curvePath(t, scales, (first, x, y) => first ? ctx.moveTo(x, y) : ctx.lineTo(x, y));
    ctx.stroke();
}

function drawCurves(ctx, view, list, scales, inks)
{
    const alpha = Math.min(0.8, Math.max(0.12, 30 / list.length));
    for (const picked of [false, true])
        for (const t of list)
            if (isPicked(view, t) === picked && t !== view.best)
                drawCurve(ctx, t, scales, inks[TRIAL_INK[t.state]], 1.2,
                    picked ? alpha : 0.04);
    ctx.globalAlpha = 0.9;
    for (const t of list)
        if (isPicked(view, t) && list.length <= 600)
            drawEnd(ctx, t, ...curveEnd(t, scales), inks);
    if (view.best && view.best.curve)
        drawCurve(ctx, view.best, scales, inks.c1, 2.6, 1);
    ctx.globalAlpha = 1;
}

function nearestCurve(view, list, scales, px, py)
{
    let found = null, least = 30 * 30;
    for (const t of list)
        curvePath(t, scales, (_, x, y) => {
            const far = (x - px) ** 2 + (y - py) ** 2;
            if (far < least && isPicked(view, t)) {
                least = far;
                found = t;
            }
        });
    return found;
}

function curvesCaption(view, drawn, all, range)
{
    return [stateKey(view, ['completed', 'stopped', 'failed', 'running', 'paused']),
        'A line ends where its trial did; a square marks one that its search stopped.' +
        (view.search.rungs.length > 0
            ? ' Dashed: the rungs at which trials were compared.' : '') +
        (view.search.clones ? ' Where a line jumps, the trial went on from the ' +
            'checkpoint of another.' : '') + (drawn < all ? ' ' + number(drawn) + ' of ' +
        plural(all, 'trial') + ' are drawn.' : '') + cutText(range)];
}

function curves(view)
{
    const all = view.trials.filter((t) => t.curve && t.curve.length > 0);
    if (all.length === 0)
        return null;
    const list = spread(all, CURVES_MAX, [view.best]);
    const range = curveRange(view, list);
    let scales;
    const made = plot(view, view.search.metric + ' of ' + plural(list.length, 'trial') +
        ' as they went on, by ' + view.search.unit, 330,
    (ctx, top, width, height, inks) => {
        scales = plotScales(range, width, height);
        plotGrid(ctx, top, scales, range, inks);
        drawRungs(ctx, top, view, scales, range, inks);
        drawCurves(ctx, view, list, scales, inks);
    });
    plotPointer(view, made, (px, py) => nearestCurve(view, list, scales, px, py),
        (t) => curveEnd(t, scales), () => list);
    view.marks.push((t) => {
        let d = '';
        if (t && t.curve && scales)
            curvePath(t, scales, (first, x, y) => {
                d += (first ? 'M' : 'L') + x.toFixed(1) + ' ' + y.toFixed(1);
            });
        made.layer.replaceChildren(...d ? [svg('path', { class: 'marked', d })] : []);
    });
    const unit = { report: 'reports', step: 'steps', epoch: 'epochs' }[view.search.unit];
    const tools = range.mayLog ? toggle([unit, 'log'], range.log ? 1 : 0, (i) => {
        range.log = i === 1;
        made.redraw();
    }) : [];
    return figureCard(view.search.metric + ' by ' + view.search.unit, tools, made.box,
        curvesCaption(view, list.length, all.length, range));
}
