"use strict"
// Highlights what a column is made from, and what is made from it. A button of a column has its number in `data-number`
// and the numbers of its origins in `data-from`.
const buttons = [...document.querySelectorAll("button[data-number]")]
const origins = buttons.map(button => button.dataset.from.split(" ").filter(Boolean).map(Number))
const derived = buttons.map(() => [])
origins.forEach((of, number) => of.forEach(origin => derived[origin].push(number)))
const search = document.querySelector("input"), status = document.querySelector("[role=status]")
const lines = document.querySelector("svg"), layers = document.querySelector(".layers")

const reach = (from, next) => {
    const found = new Set(), waiting = [...from]
    while (waiting.length) for (const number of next[waiting.pop()]) {
        if (!found.has(number)) { found.add(number); waiting.push(number) }
    }
    return found
}
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`

let shown = new Set()
const highlight = (chosen, words) => {
    const up = reach(chosen, origins), down = reach(chosen, derived)
    shown = new Set([...chosen, ...up, ...down])
    buttons.forEach((button, number) => {
        const is_chosen = chosen.has(number)
        button.setAttribute("aria-pressed", is_chosen)
        button.classList.toggle("upstream", up.has(number) && !is_chosen)
        button.classList.toggle("downstream", down.has(number) && !is_chosen)
        button.querySelector(".role").textContent =
            is_chosen ? "" : up.has(number) ? "upstream: " : down.has(number) ? "downstream: " : ""
    })
    document.body.classList.toggle("focused", chosen.size > 0)
    document.querySelectorAll(".table, .layer").forEach(element =>
        element.classList.toggle("related", !!element.querySelector("[aria-pressed=true], .upstream, .downstream")))
    const only = (numbers) => [...numbers].filter(number => !chosen.has(number)).length
    status.textContent = words && chosen.size
        ? `${words(chosen.size)}: ${only(up)} upstream, ${only(down)} downstream` : words ? words(0) : ""
    draw()
}

// A line from each origin to what is made from it; none where the layers lie below each other, as on a phone.
const draw = () => {
    lines.replaceChildren()
    if (!document.body.classList.contains("focused") || getComputedStyle(lines).display === "none") return
    const box = layers.getBoundingClientRect()
    lines.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`)
    for (const number of shown) for (const origin of origins[number].filter(each => shown.has(each))) {
        const from = buttons[origin].getBoundingClientRect(), to = buttons[number].getBoundingClientRect()
        const y1 = from.top + from.height / 2 - box.top, y2 = to.top + to.height / 2 - box.top
        const is_beside = to.left > from.right
        const x1 = (is_beside ? from.right : from.left) - box.left, x2 = to.left - box.left
        const bend = is_beside ? (x2 - x1) / 2 : 24
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path")
        path.setAttribute("d", is_beside
            ? `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`
            : `M${x1} ${y1}C${x1 - bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`)
        lines.append(path)
    }
}

const select = (number) => {
    search.value = ""
    highlight(new Set([number]), () => buttons[number].dataset.name)
    history.replaceState(null, "", `#${encodeURIComponent(buttons[number].dataset.name)}`)
}
const clear = () => {
    search.value = ""
    highlight(new Set())
    history.replaceState(null, "", location.pathname + location.search)
}
const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean)
    if (!words.length) return clear()
    const matching = (text) => new Set([...buttons.keys()].filter(number =>
        words.every(word => text(buttons[number]).toLowerCase().includes(word))))
    const by_name = matching(button => button.dataset.name)
    // Descriptions only if no name matches: most of them name other columns.
    const chosen = by_name.size ? by_name : matching(button => button.querySelector(".description").textContent)
    highlight(chosen, number => number ? `${counted(number, "column")} found` : "No column found")
}

search.addEventListener("input", find)
document.querySelector("form").addEventListener("submit", event => event.preventDefault())
buttons.forEach((button, number) => button.addEventListener("click", () =>
    button.getAttribute("aria-pressed") === "true" && !search.value ? clear() : select(number)))
document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); search.select() }
    if (event.key === "Escape") clear()
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    const visible = buttons.filter(button => button.offsetParent)
    const next = visible[Math.max(0, visible.indexOf(document.activeElement) + step)]
    if (next && (document.activeElement === search || visible.includes(document.activeElement))) {
        event.preventDefault()
        next.focus()
    }
})
addEventListener("resize", draw)

const open_address = () => {
    const name = decodeURIComponent(location.hash.slice(1))
    const number = buttons.findIndex(button => button.dataset.name === name)
    if (number >= 0) { select(number); buttons[number].scrollIntoView({ block: "center" }) }
}
addEventListener("hashchange", open_address)
open_address()
