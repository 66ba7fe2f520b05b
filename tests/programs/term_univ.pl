% Terms taken apart and built with =.., functor/3 and arg/3.
%% answer: name(sold)  0.2
%% answer: name(lost)  0.7
%% answer: arity(2)  0.2
%% answer: arity(1)  0.7
%% answer: first(car)  0.2
%% answer: first(key)  0.7
%% answer: undone(undo(car,3))  0.2
%% answer: undone(undo(key))  0.7

0.2::event(sold(car, 3)).
0.7::event(lost(key)).

name(F) :- event(E), E =.. [F | _].
arity(N) :- event(E), functor(E, _, N).
first(A) :- event(E), arg(1, E, A).
undone(T) :- event(E), E =.. [_ | Args], T =.. [undo | Args].

query(name(_)).
query(arity(_)).
query(first(_)).
query(undone(_)).
