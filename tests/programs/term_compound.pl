% Compound terms as arguments: matching inside them.
%% answer: shape(circle(point(0,0),2))  0.4
%% answer: round  0.58
%% answer: at_origin(circle)  0.4
%% answer: at_origin(box)  0.5
%% answer: radius(2)  0.4
%% answer: radius(3)  0.3

0.4::shape(circle(point(0, 0), 2)).
0.5::shape(box(point(0, 0), point(2, 1))).
0.3::shape(circle(point(1, 1), 3)).

round :- shape(circle(_, _)).
at_origin(F) :- shape(S), functor(S, F, 2), arg(1, S, point(0, 0)).
radius(R) :- shape(circle(_, R)).

query(shape(circle(point(0, 0), 2))).
query(round).
query(at_origin(_)).
query(radius(_)).
