/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: the picture that came with the page, made to be moved, zoomed and pressed;
 * without a picture, the steps of each entry as a row of dots.
 */

function graphEntries(box)
{
    const entries = new Map();
    for (const step of steps) {
        const entry = entryOf(step.address);
        entries.set(entry, (entries.get(entry) || []).concat(step));
    }
    box.append(el('ul', { class: 'entries' }, [...entries].map(([entry, list]) =>
        el('li', null, el('span', { class: 'name' }, entry),
            el('span', { class: 'dots' }, list.slice(0, 500).map((step) =>
                el('button', { class: 's-' + step.state,
                    title: step.address + ': ' + stateWord(step.state),
                    'aria-label': step.address + ': ' + stateWord(step.state),
                    on: { click: () => openStep(step.address) } })),
            list.length > 500 && el('span', { class: 'soft' }, '500 of ' +
                number(list.length)))))));
}

/* A box stands for a step, or for all steps of an entry when there are too many. */
function graphNode(node)
{
    const title = node.querySelector('title');
    const name = title ? title.textContent : '';
    const step = byAddress.get(name);
    const state = step ? step.state
        : STATE_ORDER.find((one) => node.classList.contains(one));
    if (state)
        node.classList.add('s-' + state);
    if (!step && !steps.some((one) => entryOf(one.address) === name))
        return;
    if (title)
        title.textContent = step ? name + ': ' + stateWord(step.state) : name;
    node.setAttribute('tabindex', 0);
    node.setAttribute('role', 'button');
    node.setAttribute('aria-label', title.textContent);
    const open = () => step ? openStep(name) : findSteps(name);
    node.addEventListener('click', () => node.ownerSVGElement.dataset.moved || open());
    node.addEventListener('keydown', (event) => {
        if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            open();
        }
    });
}

function graphDrag(box, drawing)
{
    let from;
    box.addEventListener('pointerdown', (event) => {
        delete drawing.dataset.moved;
        if (event.button === 0 && event.pointerType === 'mouse')
            from = { x: event.clientX, y: event.clientY, left: box.scrollLeft,
                top: box.scrollTop };
    });
    addEventListener('pointermove', (event) => {
        if (!from)
            return;
        const dx = event.clientX - from.x, dy = event.clientY - from.y;
        if (Math.abs(dx) + Math.abs(dy) > 5) {
            drawing.dataset.moved = 'yes';
            box.classList.add('dragging');
        }
        box.scrollLeft = from.left - dx;
        box.scrollTop = from.top - dy;
    });
    addEventListener('pointerup', () => {
        from = undefined;
        box.classList.remove('dragging');
    });
}

function graph()
{
    const box = document.getElementById('graph-box');
    const drawing = box.querySelector('svg');
    if (!drawing) {
        graphEntries(box);
        return;
    }
    const view = drawing.viewBox.baseVal;
    const natural = { w: view.width * 4 / 3, h: view.height * 4 / 3 };
    let scale = 1;
    drawing.removeAttribute('width');
    drawing.removeAttribute('height');
    drawing.setAttribute('role', 'group');
    drawing.setAttribute('aria-label', 'Graph of the steps');
    drawing.querySelectorAll('g.node').forEach(graphNode);
    drawing.querySelectorAll('g.edge > title, g.graph > title').forEach((title) =>
        title.remove());

    function zoom(to, clientX, clientY)
    {
        const rect = box.getBoundingClientRect(), old = scale;
        const x = clientX === undefined ? rect.width / 2 : clientX - rect.left;
        const y = clientY === undefined ? rect.height / 2 : clientY - rect.top;
        scale = Math.min(4, Math.max(0.02, to));
        drawing.style.width = natural.w * scale + 'px';
        drawing.style.height = natural.h * scale + 'px';
        box.scrollLeft = (box.scrollLeft + x) * scale / old - x;
        box.scrollTop = (box.scrollTop + y) * scale / old - y;
    }

    function fit()
    {
        zoom(Math.min(1, (box.clientWidth - 34) / natural.w, 600 / natural.h));
    }

    /* A graph that would be too small to read starts at its left, large enough. */
    function begin()
    {
        const least = (box.clientWidth - 34) / natural.w;
        zoom(Math.min(1, Math.max(0.55, Math.min(least, 600 / natural.h))));
        box.scrollLeft = box.scrollTop = 0;
    }

    graphDrag(box, drawing);
    box.addEventListener('wheel', (event) => {
        if (!event.ctrlKey && !event.metaKey)
            return;
        event.preventDefault();
        zoom(scale * (event.deltaY < 0 ? 1.15 : 0.87), event.clientX, event.clientY);
    }, { passive: false });
    const tools = document.getElementById('graph-tools');
    tools.hidden = false;
    const button = (text, label, fn) => el('button', { class: 'btn',
        'aria-label': label, on: { click: fn } }, text);
    tools.append(button('+', 'Zoom in', () => zoom(scale * 1.3)),
        button('−', 'Zoom out', () => zoom(scale / 1.3)),
        button('Fit', 'Show all', fit), button('1:1', 'Natural size', () => zoom(1)));
    begin();
}
