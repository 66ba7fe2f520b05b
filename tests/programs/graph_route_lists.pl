% Every simple route as a list of the visited nodes.
%% answer: route([a, b, c, d])  0.21
%% answer: route([a, c, d])  0.21
%% answer: some  0.357

:- use_module(library(lists)).

0.5::edge(a, b).
0.6::edge(b, c).
0.3::edge(a, c).
0.4::edge(c, a).
0.7::edge(c, d).

route(List) :- walk(a, [a], Back), reverse(Back, List).
walk(d, Seen, Seen).
walk(X, Seen, Back) :- X \= d, edge(X, Y), \+ memberchk(Y, Seen), walk(Y, [Y | Seen], Back).
some :- route(_).

query(route(_)).
query(some).
