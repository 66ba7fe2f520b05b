% Lists matched with [H | T] and with lists inside lists.
%% answer: head(a)  0.3
%% answer: head(b)  0.5
%% answer: tail([])  0.3
%% answer: tail([[c, d]])  0.5
%% answer: inner(c)  0.5
%% answer: nested([[a], [a]])  0.3
%% answer: nested([[b, [c, d]], [b, [c, d]]])  0.5
%% answer: nested([[], []])  0.2

0.3::items([a]); 0.5::items([b, [c, d]]); 0.2::items([]).

head(H) :- items([H | _]).
tail(T) :- items([_ | T]).
inner(X) :- items([_, [X | _]]).
nested([L, L]) :- items(L).

query(head(_)).
query(tail(_)).
query(inner(_)).
query(nested(_)).
